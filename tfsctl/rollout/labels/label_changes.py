"""Change the labels of a model: `set_labels`, `promote` and `rollback`, with their lock, notes and history."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tfsctl.clients.connection import DEFAULT_CONNECTION, Connection
from tfsctl.clients.grpc import GrpcClient
from tfsctl.core import model_dir
from tfsctl.core.history import journal
from tfsctl.core.history.event import Action, Event
from tfsctl.core.saved_model import SAVED_MODEL_FILE
from tfsctl.engines.registry import records
from tfsctl.engines.registry.server_choice import choose_server
from tfsctl.engines.registry.tracked_server import RUNNING
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.rollout.labels import planning
from tfsctl.rollout.labels.intent import Intent
from tfsctl.rollout.labels.managed_model import ConfigFileModel, ManagedModel, TrackedServerModel
from tfsctl.rollout.labels.planning import CANARY, PREVIOUS, STABLE
from tfsctl.rollout.labels.required_blessing import check_blessing
from tfsctl.rollout.labels.transition import ShowStep, carry_out, recover

DEFAULT_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class LabelState:
    """The labels of a model, and the other settings that decide which version answers a request.

    - `loaded`: the versions that are AVAILABLE
    - `notes`: remarks for the user
    """

    server: str
    model: str
    labels: Mapping[str, int]
    loaded: tuple[int, ...]
    notes: tuple[str, ...] = ()

    @property
    def unlabelled_version(self) -> int | None:
        """The version that answers requests without a label or version: the highest that is loaded."""
        return max(self.loaded, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelChange(LabelState):
    """A change that was made.

    - `released`: the versions that were unloaded
    - `seconds`: how long it took, from the first call to the server to the last
    """

    labels_before: Mapping[str, int]
    released: tuple[int, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class ChangeOptions:
    """Options of every change: how long versions may load, a comment for the history, and how each step is reported."""

    wait_timeout_s: float = DEFAULT_WAIT_S
    message: str = ""
    show_step: ShowStep = lambda _step: None


def find_model(
    name: str,
    *,
    server: str | None = None,
    config_file: Path | None = None,
    host: str = "localhost",
    grpc_port: int = 8500,
    timeout_s: float = 30.0,
    connection: Connection = DEFAULT_CONNECTION,
) -> ManagedModel:
    """The model `name` of a server that tfsctl started, or of the server at an address that reads `config_file`.

    `connection` holds TLS files and headers. For a server that tfsctl started, they complete those in its record.
    Raises NotFound if no server has it, InvalidInput if several have.
    """
    if config_file is not None:
        return ConfigFileModel(
            config_file, name, GrpcClient(host, grpc_port, timeout_s=timeout_s, connection=connection)
        )
    running = {one.record.name: one for one in records.list_servers() if one.state == RUNNING}
    chosen = choose_server([one.record for one in running.values()], model=name, name=server, has_model_option=False)
    if name not in chosen.models:
        raise NotFound(f"the server {chosen.name} has no model {name} (models: {', '.join(chosen.models)})")
    is_only_server = sum(name in one.record.models for one in running.values()) == 1
    return TrackedServerModel(running[chosen.name], name, connection, is_only_server=is_only_server)


def label_state(model: ManagedModel, options: ChangeOptions = ChangeOptions()) -> LabelState:
    """The labels of a model now. An interrupted change is finished or undone first."""
    with model.locked(_report_waiting(model, options)):
        note = recover(model, wait_timeout_s=options.wait_timeout_s, show_step=options.show_step)
        labels, loaded = model.config().labels, _loaded(model)
    return LabelState(model.server, model.name, labels, loaded, (note,) if note else ())


def set_labels(
    model: ManagedModel,
    assigned: Mapping[str, int],
    *,
    removed: Collection[str] = (),
    options: ChangeOptions = ChangeOptions(),
) -> LabelChange:
    """Assign labels to versions, and remove labels. Raises NotFound for an unknown label or version, RolloutError."""

    def choose(labels: Mapping[str, int], _loaded: Collection[int]) -> tuple[dict[str, int], Collection[str]]:
        unknown = next((label for label in removed if label not in labels), None)
        if unknown is not None:
            raise NotFound(f"{model.name} has no label {unknown} (labels: {_format_labels(labels)})")
        return dict(assigned), removed

    return _change(model, "label", choose, options)


def promote(
    model: ManagedModel,
    *,
    version: int | None = None,
    require_blessing: bool = False,
    options: ChangeOptions = ChangeOptions(),
) -> LabelChange:
    """Move `stable` to a version, and keep the earlier stable version loaded as `previous`.

    `version` is by default the version with the label `canary`, unless that is stable already, and otherwise the latest
    on disk. Without a label `stable`, the earlier stable version is the one that answers requests without a label.
    Raises NotBlessed if the version has not passed a comparison and that is required, NotFound, InvalidInput,
    RolloutError.
    """

    def choose(labels: Mapping[str, int], loaded: Collection[int]) -> tuple[dict[str, int], Collection[str]]:
        before = labels.get(STABLE)
        chosen = version if version is not None else _candidate(model, labels)
        if chosen == before:
            raise InvalidInput(
                f"version {chosen} of {model.name} is stable already", hint="--version W promotes another one"
            )
        if require_blessing:
            _check_on_disk(model, [chosen])
            check_blessing(model.name, model.base, chosen, (before, *sorted(loaded, reverse=True)))
        earlier = max(loaded, default=None) if before is None else before
        return {STABLE: chosen, **({} if earlier in (None, chosen) else {PREVIOUS: earlier})}, ()

    return _change(model, "promote", choose, options)


def rollback(model: ManagedModel, *, options: ChangeOptions = ChangeOptions()) -> LabelChange:
    """Move `stable` back to `previous`, or to the version before it in the history.

    The version rolled back from is unloaded, unless another label names it: requests without a label go to the highest
    version that is loaded. Raises NotFound if there is no earlier version, RolloutError.
    """

    def choose(labels: Mapping[str, int], _loaded: Collection[int]) -> tuple[dict[str, int], Collection[str]]:
        current = labels.get(STABLE)
        if current is None:
            raise NotFound(f"{model.name} has no label stable", hint=f"tfsctl promote {model.target}")
        target = labels.get(PREVIOUS)
        if target in (None, current):
            target = _earlier_stable(model.base, current)
        if target is None:
            raise NotFound(
                f"no version of {model.name} was stable before version {current}",
                hint=f"tfsctl label {model.target} stable=VERSION",
            )
        return {STABLE: target}, [PREVIOUS] if PREVIOUS in labels else []

    return _change(model, "rollback", choose, options)


def _change(
    model: ManagedModel,
    action: Action,
    choose: Callable[[Mapping[str, int], Collection[int]], tuple[dict[str, int], Collection[str]]],
    options: ChangeOptions,
) -> LabelChange:
    """Lock the server, finish an interrupted change, choose the labels, and carry the change out."""
    if isinstance(model, TrackedServerModel) and model.is_front:
        raise InvalidInput(
            f"{model.name} is served by a front, whose labels cannot change",
            hint=f"tfsctl canary {shlex.quote(model.name)} --version N --percent 10",
        )
    with model.locked(_report_waiting(model, options)):
        note = recover(model, wait_timeout_s=options.wait_timeout_s, show_step=options.show_step)
        before, loaded = model.config(), _loaded(model)
        assigned, removed = choose(before.labels, loaded)
        _check_on_disk(model, set(assigned.values()))
        after = planning.with_labels(before, loaded, assigned, removed)
        steps = planning.steps(before, after, loaded)
        event = Event(
            action,
            model.name,
            versions=tuple(dict.fromkeys(assigned.values())),
            labels=after.labels,
            labels_before=before.labels,
            server=model.server,
            message=options.message,
        )
        start = time.monotonic()
        notes = carry_out(
            model, Intent(steps, event), wait_timeout_s=options.wait_timeout_s, show_step=options.show_step
        )
        seconds = time.monotonic() - start
    return LabelChange(
        model.server,
        model.name,
        after.labels,
        tuple(steps.served),
        tuple(filter(None, (note, *notes, _unlabelled_note(model, after.labels, steps.served)))),
        labels_before=before.labels,
        released=tuple(steps.released),
        seconds=seconds,
    )


def _unlabelled_note(model: ManagedModel, labels: Mapping[str, int], served: Collection[int]) -> str:
    """A note if requests without a label do not reach the stable version."""
    highest, stable = max(served, default=None), labels.get(STABLE)
    if stable is None or highest is None or highest == stable:
        return ""
    naming = [label for label, version in labels.items() if version == highest]
    release = f"; tfsctl label rm {model.target} {shlex.quote(naming[0])} unloads it" if len(naming) == 1 else ""
    return f"requests without a label go to version {highest}, the highest that is loaded, and not to stable{release}"


def _loaded(model: ManagedModel) -> tuple[int, ...]:
    return tuple(sorted(status.version for status in model.statuses() if status.state == "AVAILABLE"))


def _report_waiting(model: ManagedModel, options: ChangeOptions) -> Callable[[], None]:
    return lambda: options.show_step(f"waiting for another command that changes the labels of {model.server}")


def _candidate(model: ManagedModel, labels: Mapping[str, int]) -> int:
    canary = labels.get(CANARY)
    if canary is not None and canary != labels.get(STABLE):
        return canary
    on_disk = _on_disk(model.base)
    if not on_disk:
        raise NotFound(f"no version of {model.name} is on disk here", hint="--version W names one")
    return max(on_disk)


def _on_disk(base: Path | None) -> list[int]:
    if base is None:
        return []
    return [found.version for found in model_dir.list_versions(base) if (found.path / SAVED_MODEL_FILE).is_file()]


def _check_on_disk(model: ManagedModel, versions: Collection[int]) -> None:
    """Raise NotFound for a version that the model's directory does not hold."""
    on_disk = _on_disk(model.base)
    missing = [version for version in sorted(versions) if version not in on_disk]
    if model.base is not None and missing:
        there = ", ".join(map(str, on_disk)) or "none"
        raise NotFound(
            f"{model.name} has no version {missing[0]}: {model.base} holds {there}",
            hint=f"tfsctl versions {shlex.quote(str(model.base))}",
        )


def _earlier_stable(base: Path | None, current: int) -> int | None:
    """The version that was stable before `current`, as the history tells, if it is still on disk."""
    if base is None:
        return None
    on_disk = _on_disk(base)
    for event in reversed(journal.read(base)):
        earlier = event.labels_before.get(STABLE, event.labels.get(PREVIOUS))
        moved_forward = event.action != "rollback" and event.labels.get(STABLE) == current
        if moved_forward and earlier not in (None, current) and earlier in on_disk:
            return earlier
    return None


def _format_labels(labels: Mapping[str, int]) -> str:
    return ", ".join(f"{label}={version}" for label, version in labels.items()) or "none"
