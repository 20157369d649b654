"""Put a front before a running server, and take it away again: `tfsctl front`.

The new server starts beside the old one. It then takes the ports over, so an error before that leaves the old one as it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.model_on_disk import find_configured
from tfsctl.engines.planning import restarting, serve_plan, server_control
from tfsctl.engines.planning.engine_choice import ENGINES
from tfsctl.engines.planning.serve_plan import ServePlan
from tfsctl.engines.planning.server_handle import ServerHandle
from tfsctl.engines.process import embedded
from tfsctl.engines.process import front as front_process
from tfsctl.engines.registry import records
from tfsctl.engines.registry.tracked_server import TrackedServer
from tfsctl.engines.server_record import record_of
from tfsctl.errors import EngineError, InvalidInput, NotReadyInTime
from tfsctl.programs import port_handover, processes
from tfsctl.programs.log_followers import ShowLine
from tfsctl.rollout.front import children, envoy_program, handover, operations
from tfsctl.rollout.front.front_files import ContainerRef, FrontFiles, FrontState, ProcessRef
from tfsctl.serving_config.model_config import ModelConfig, VersionPolicy

_POLL_S = 0.05
_DRAIN_S = 35.0  # for the connections of the old server
_ENVOY_S = 30.0  # for the start of Envoy

Method = Literal["handover", "restart", "second address"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How a command watches a change.

    - `wait_timeout_s`: how long the models may load
    - `give_up`: whether the user wants to stop
    - `show_step`: receives each step
    """

    wait_timeout_s: float
    give_up: Callable[[], bool] = lambda: False
    show_step: ShowLine = lambda _step: None


def has_front(server: TrackedServer) -> bool:
    """Whether a server is a front."""
    return server.launch is not None and bool(server.launch.get("front"))


def plan_front(server: TrackedServer, method: Method, ports: tuple[int, int] | None = None) -> ServePlan:
    """The plan of a front for the models of a server. `ports` is the second address: the REST port and the gRPC port.

    Raises EngineError if Envoy is not installed or the command line of the server is unknown, InvalidInput if the server
    cannot have a front, or not by this method, and what `serve_plan.replan` and `Engine.prepare` raise.
    """
    record = server.record
    envoy_program.find_envoy()
    spec = replace(_spec(server), front=True)
    serve_plan.check_front(record.engine, spec)
    _check_recordings(record.name, [model.name for model in spec.config.models if model.logging is not None])
    if method == "handover":
        _check_handover(server)
    if ports is not None:
        config = replace(spec.config, rest_port=ports[0], grpc_port=ports[1])
        spec = replace(spec, name=f"{record.name}-front", config=config)
    restarting.check_environment(spec, record.name)
    plan = serve_plan.replan(record.engine, spec)
    if ports is not None:
        server_control.prepare(plan)
    else:
        ENGINES[plan.engine].prepare(plan.launch, plan.models)
    return plan


def put_front(server: TrackedServer, plan: ServePlan, progress: Progress, *, stop_old: bool) -> ServerHandle:
    """Start a front that takes the ports of a server over, or stops it first. Returns when the old server has ended.

    Raises EngineError if the front cannot be started, NotReadyInTime, and Interrupted once `give_up()`. The old server
    then goes on, unless it had to be stopped for the front.
    """
    old = _reference(server)
    children.clean_up(plan.launch.name)
    progress.show_step(f"loading {', '.join(model.name for model in plan.models)}")
    process = front_process.start(
        plan.launch, plan.engine, detach=True, environment=handover.to_variable(old, stop=stop_old)
    )
    handle = ServerHandle(record_of(plan.launch, plan.engine, process), process, log_shown=False)
    files = FrontFiles(plan.launch.name)
    try:
        _wait(handle, progress, lambda: _has_begun(files.read()))
        _wait(handle, Progress(_ENVOY_S), lambda: _is_serving(files.read()))  # the old server leaves: no way back
    except BaseException:
        process.stop()
        children.clean_up(plan.launch.name)
        raise
    records.replace_server(handle.record, launch=plan.launch.to_document())
    progress.show_step("waiting for the clients of the old server")
    if isinstance(old, ProcessRef):
        _wait_for_end(old, progress)
    return handle


def plan_removal(front: TrackedServer) -> tuple[ServePlan, list[str]]:
    """The plan of the server without its front, and notes for the user. It serves the versions that were promoted.

    Raises what `plan_front` raises.
    """
    record = front.record
    state = operations.read_state(front)
    _check_recordings(record.name, list(state.recordings))
    spec = _spec(front)
    models, notes = [], []
    for model in spec.config.models:
        found = _without_unpromoted(model, state.versions[model.name])
        models.append(found)
        if found != model:
            versions = ", ".join(map(str, found.policy.specific or ()))
            notes.append(f"{model.name} serves only version {versions}: newer versions on disk were not promoted")
    plain = replace(spec, front=False, config=replace(spec.config, models=tuple(models)))
    restarting.check_environment(plain, record.name)
    plan = serve_plan.replan(record.engine, plain)
    ENGINES[plan.engine].prepare(plan.launch, plan.models)
    return plan, notes


def remove_front(front: TrackedServer, plan: ServePlan, progress: Progress) -> ServerHandle:
    """Start an embedded server that takes the ports of a front over. Returns when the front has ended.

    Raises InvalidInput if a rollout is running, EngineError if the server cannot be started, NotReadyInTime, and
    Interrupted once `give_up()`. The front then goes on.
    """
    with operations.removal(front):
        progress.show_step(f"loading {', '.join(model.name for model in plan.models)}")
        process = embedded.start(plan.launch, detach=True, environment={port_handover.VARIABLE: "1"})
        handle = ServerHandle(record_of(plan.launch, plan.engine, process), process, log_shown=False)
        wanted = {handle.record.rest_port, handle.record.grpc_port}
        try:
            _wait(handle, progress, lambda: wanted <= processes.listening_ports(process.pid or 0))
        except BaseException:
            process.stop()
            raise
    records.replace_server(handle.record, launch=plan.launch.to_document())
    progress.show_step("waiting for the clients of the front")
    _wait_for_end(_reference(front), progress)
    children.clean_up(plan.launch.name)
    return handle


def restart_without_front(front: TrackedServer, plan: ServePlan, progress: Progress) -> ServerHandle:
    """Stop a front, and start the server without it. Requests are refused meanwhile.

    Raises InvalidInput if a rollout is running, and what `restart` raises.
    """
    operations.check_no_rollout(front)
    handle = restarting.restart(
        front,
        plan,
        wait_timeout_s=progress.wait_timeout_s,
        give_up=progress.give_up,
        show_step=progress.show_step,
    )
    children.clean_up(plan.launch.name)
    return handle


def _check_recordings(server: str, models: Sequence[str]) -> None:
    """Raise InvalidInput if requests are recorded: the new server would not continue that."""
    if models:
        raise InvalidInput(
            f"the requests of {models[0]} are being recorded, and the change would end that",
            hint=f"tfsctl record {server} --model {models[0]} --stop",
        )


def _check_handover(server: TrackedServer) -> None:
    """Raise InvalidInput if the server cannot hand its ports over."""
    record = server.record
    if record.container is None and port_handover.can_hand_over(record.pid or 0):
        return
    what = "runs in a container, which" if record.container is not None else "was started by an older tfsctl and"
    raise InvalidInput(
        f"{record.name} {what} cannot hand its ports over",
        hint=f"add --restart, which refuses requests for some seconds, or --rest-port 0 to start {record.name}-front",
    )


def _spec(server: TrackedServer) -> LaunchSpec:
    """How the server was started, with the ports that it has now. Raises EngineError if that is not known."""
    record = server.record
    if server.launch is None:
        raise EngineError(
            f"the command line of {record.name} is unknown",
            hint=f"tfsctl stop {record.name}, and tfsctl serve PATH --front",
        )
    spec = LaunchSpec.from_document(server.launch)
    return replace(spec, config=replace(spec.config, rest_port=record.rest_port, grpc_port=record.grpc_port))


def _reference(server: TrackedServer) -> ProcessRef | ContainerRef:
    record = server.record
    if record.container is not None:
        return ContainerRef(record.container)
    pid = record.pid or 0
    return ProcessRef(pid, processes.process_identity(pid))


def _without_unpromoted(model: ModelConfig, stable: int) -> ModelConfig:
    """The model, with exactly the promoted versions if its policy would serve others too, or not all of them."""
    served = {int(folder.name) for folder in find_configured(model).folders}
    wanted = {version for version in served if version < stable} | {stable}
    if served == wanted:
        return model
    labels = {label: version for label, version in model.labels.items() if version in wanted}
    return replace(model, policy=VersionPolicy(specific=tuple(sorted(wanted))), labels=labels)


def _has_begun(state: FrontState | None) -> bool:
    """Whether Envoy was started, and the old server may be leaving."""
    return state is not None and state.envoy is not None


def _is_serving(state: FrontState | None) -> bool:
    """Whether Envoy uses the routes, so that the old server ends."""
    return state is not None and state.envoy is not None and 0 < state.generation == state.applied


def _wait(server: ServerHandle, progress: Progress, condition: Callable[[], bool]) -> None:
    """Wait until a server that was started meets a condition."""
    deadline = time.monotonic() + progress.wait_timeout_s
    while not condition():
        if progress.give_up():
            raise server_control.Interrupted
        status = server.exit_status()
        if status is not None:
            raise server.exit_error(status, " before it was ready")
        if time.monotonic() > deadline:
            raise NotReadyInTime(
                f"{server.record.name} is not ready in time; {server.log_excerpt()}",
                hint="increase --wait-timeout SECONDS",
            )
        time.sleep(_POLL_S)


def _wait_for_end(process: ProcessRef | ContainerRef, progress: Progress) -> None:
    """Wait until a process that hands its ports over has ended. It does so without us, if this takes too long."""
    deadline = time.monotonic() + _DRAIN_S
    while isinstance(process, ProcessRef) and process.runs and not progress.give_up():
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL_S)
