"""How commands and the Python API use a front: find the front of a model, send it a command, and read its state."""

from __future__ import annotations

import difflib
import getpass
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.registry import records
from tfsctl.engines.registry.tracked_server import RUNNING, TrackedServer
from tfsctl.errors import ExitCode, InvalidInput, NotFound, NotReadyInTime
from tfsctl.rollout.comparison.result import Comparison
from tfsctl.rollout.front.front_files import FrontFiles, FrontState
from tfsctl.rollout.front.rollout_state import RolloutPlan
from tfsctl.rollout.labels import required_blessing
from tfsctl.rollout.shadow.shadow_state import Shadow, ShadowPlan
from tfsctl.serving_config.request_logging import RequestLogging

ANSWER_S = 15.0  # how long a front may take to carry out a command
RECORDING_S = 60.0  # for a recording: a server that loads a version begins it after that
_POLL_S = 0.05

RolloutAction = Literal["promote", "rollback", "abort", "resume"]


def find_front(model: str | None, *, server: str | None = None) -> TrackedServer:
    """The running front that serves a model, or the only front. Raises NotFound, or InvalidInput if several fit."""
    fronts = [one for one in records.list_servers() if one.is_front]
    fitting = [
        one
        for one in fronts
        if (server is None or one.record.name == server) and (model is None or model in one.record.models)
    ]
    running = [one for one in fitting if one.state == RUNNING]
    if len(running) > 1:
        names = [one.record.name for one in running]
        raise InvalidInput(f"several fronts match: {', '.join(names)}", hint=f"add --server {names[0]}")
    if running:
        return running[0]
    if fitting:
        name = fitting[0].record.name
        raise NotFound(f"the front {name} has ended", hint=f"tfsctl restart {name}")
    raise _no_front(model or server, [one for one in fronts if one.state == RUNNING])


def _no_front(wanted: str | None, fronts: Sequence[TrackedServer]) -> NotFound:
    """The error if no front serves a model, or none has that name. `fronts` are those that run."""
    hint = "tfsctl front NAME puts one in front of a running server; tfsctl serve PATH --front starts both"
    if wanted is None:
        return NotFound("no front is running", hint=hint)
    known = [model for one in fronts for model in one.record.models]
    others = [one for one in records.list_servers() if one.state == RUNNING and not one.is_front]
    plain = [one.record.name for one in others if wanted in one.record.models]
    close = difflib.get_close_matches(wanted, known, n=1)
    if plain:
        hint = f"tfsctl front {plain[0]} puts one in front of the server of {wanted}"
    elif close:
        hint = f"did you mean {close[0]}?"
    elif any(one.record.name == wanted for one in fronts):
        hint = f"{wanted} is the name of a front: name its model, such as {known[0]}"
    return NotFound(f"no front serves {wanted}" + (f"; they serve {', '.join(known)}" if known else ""), hint=hint)


def is_behind_front(model: str, *, server: str | None = None) -> bool:
    """Whether the only running server that serves the model is a front, or the one of this name is."""
    fitting = [
        one
        for one in records.list_servers()
        if one.state == RUNNING and model in one.record.models and server in (None, one.record.name)
    ]
    return len(fitting) == 1 and fitting[0].is_front


def has_rollout(model: str, *, server: str | None = None) -> bool:
    """Whether a rollout is running on the front that serves the model. Raises what `find_front` raises."""
    state = FrontFiles(find_front(model, server=server).record.name).read()
    return state is not None and state.rollout is not None and state.rollout.is_active


def check_version(model: str, version: int | None, *, server: str | None = None) -> None:
    """Raise InvalidInput if the running rollout is of another version than `version`."""
    state = FrontFiles(find_front(model, server=server).record.name).read()
    rollout = None if state is None else state.rollout
    if version is not None and rollout is not None and rollout.plan.version != version:
        raise InvalidInput(
            f"version {rollout.plan.version} of {model} is being rolled out, not version {version}",
            hint="remove --version",
        )


def check_blessing(model: str, *, server: str | None = None) -> None:
    """Raise NotBlessed if the version that is being rolled out did not pass its last comparison."""
    front = find_front(model, server=server)
    rollout = read_state(front).rollout
    if rollout is not None:
        models = LaunchSpec.of_server(front.record.name, front.launch).config.models
        base = next(Path(one.base_path) for one in models if one.name == model)
        required_blessing.check_blessing(model, base, rollout.plan.version, [rollout.from_version])


def start_rollout(front: TrackedServer, plan: RolloutPlan, shadow: ShadowPlan | None = None) -> FrontState:
    """Start a rollout, or change the steps of a running one. Returns once the first percentage is in effect.

    `shadow` is needed for a plan with `min_agreement`.
    Raises InvalidInput and NotFound if it cannot be started, and NotReadyInTime.
    """
    name = front.record.name
    _send(name, {"action": "canary", "plan": asdict(plan), "shadow": None if shadow is None else asdict(shadow)})
    return _wait(name, _has_started, plan.timeout_s + ANSWER_S)


def start_shadow(front: TrackedServer, plan: ShadowPlan) -> FrontState:
    """Start a shadow, or replace the running one of that version. Returns once requests are copied, or it has failed.

    Raises InvalidInput and NotFound if it cannot be started, and NotReadyInTime.
    """
    name = front.record.name
    _send(name, {"action": "shadow", "plan": asdict(plan)})
    return _wait(name, _is_copying, plan.timeout_s + ANSWER_S)


def stop_shadow(front: TrackedServer) -> FrontState:
    """Stop the running shadow. Returns when its collector has sent what was in its queue, and has written its report.

    Raises NotFound if no shadow is running, InvalidInput if a canary needs it, and NotReadyInTime.
    """
    name = front.record.name
    _send(name, {"action": "stop_shadow"})
    return _wait(name, lambda state: state.collector is None, 2 * ANSWER_S)


def read_comparison(front: TrackedServer, shadow: Shadow) -> Comparison | None:
    """The comparison of the last shadow; None if it has compared nothing yet."""
    return FrontFiles(front.record.name).collector.read_comparison(shadow.id)


def finish_rollout(front: TrackedServer, action: RolloutAction) -> FrontState:
    """End a rollout, or resume a paused one. Returns once the routes are in effect.

    Raises NotFound if no rollout is running, InvalidInput if it cannot be done now, and NotReadyInTime.
    """
    name = front.record.name
    _send(name, {"action": action})
    return _wait(name, lambda state: state.applied == state.generation, ANSWER_S)


def set_recording(front: TrackedServer, model: str, logging: RequestLogging | None) -> None:
    """Record the requests of a model on all servers of a front, or end it (None). Returns when it is in effect.

    Raises InvalidInput if they are recorded already, and NotReadyInTime.
    """
    name = front.record.name
    _send(name, {"action": "record", "model": model, "logging": None if logging is None else asdict(logging)})
    _wait(name, lambda state: state.is_recording_settled, RECORDING_S)


@contextmanager
def removal(front: TrackedServer) -> Iterator[None]:
    """After the block, tell a front to send its clients to the server that shares its ports, and to end.

    Other operators wait during the block. The end of the front is not waited for. Raises InvalidInput if a rollout is
    running, and NotReadyInTime.
    """
    name = front.record.name
    with FrontFiles(name).lock():
        check_no_rollout(front)
        yield
        _send_locked(name, {"action": "remove"})


def check_no_rollout(front: TrackedServer) -> None:
    """Raise InvalidInput if a rollout or a shadow is running."""
    state, name = read_state(front), front.record.name
    rollout, shadow = state.rollout, state.shadow
    if shadow is not None and shadow.is_active:
        raise InvalidInput(
            f"version {shadow.plan.version} of {shadow.plan.model} is being shadowed",
            hint=f"tfsctl shadow {shadow.plan.model} --server {name} --stop",
        )
    if rollout is not None and rollout.is_active:
        raise InvalidInput(
            f"version {rollout.plan.version} of {rollout.plan.model} is being rolled out",
            hint=f"tfsctl rollout promote --server {name}, or tfsctl rollout abort --server {name}",
        )


def read_state(front: TrackedServer) -> FrontState:
    """The state of a front. Raises NotFound if it has none yet."""
    state = FrontFiles(front.record.name).read()
    if state is None:
        raise NotFound(f"the front {front.record.name} has no state yet", hint="try again in a second")
    return state


def _has_started(state: FrontState) -> bool:
    if state.rollout is None or not state.rollout.is_active:
        return True
    return state.rollout.status != "starting" and state.applied == state.generation


def _is_copying(state: FrontState) -> bool:
    if state.shadow is None or not state.shadow.is_active:
        return True
    return state.shadow.status == "running" and state.applied == state.generation


def _send(name: str, command: dict[str, Any]) -> None:
    """Send a command to the front of this name. Commands of several operators are carried out one after the other."""
    with FrontFiles(name).lock():
        _send_locked(name, command)


def _send_locked(name: str, command: dict[str, Any]) -> None:
    """Send a command while the lock of the front is held."""
    command_id = uuid.uuid4().hex
    FrontFiles(name).write_command({**command, "id": command_id, "operator": getpass.getuser()})
    state = _wait(name, lambda found: found.command == command_id, ANSWER_S)
    if state.command_code == ExitCode.NOT_FOUND:
        raise NotFound(state.command_error, hint=state.command_hint)
    if state.command_code:
        raise InvalidInput(state.command_error, hint=state.command_hint or f"tfsctl rollout status --server {name}")


def _wait(name: str, condition: Callable[[FrontState], bool], timeout_s: float) -> FrontState:
    deadline = time.monotonic() + timeout_s
    files = FrontFiles(name)
    while True:
        state = files.read()
        if state is not None and condition(state):
            return state
        if time.monotonic() > deadline:
            raise NotReadyInTime(f"the front {name} does not answer", hint=f"tfsctl logs {name} --tail 20")
        time.sleep(_POLL_S)
