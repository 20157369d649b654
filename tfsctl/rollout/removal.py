"""Remove versions of a model that no known server serves or needs, and record it in the history."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tfsctl.core import model_dir
from tfsctl.core.history import journal
from tfsctl.core.history.event import Event
from tfsctl.engines.registry import fleet
from tfsctl.engines.registry.served_versions import ServedVersions, models_in, served_versions
from tfsctl.errors import NotFound, RolloutError
from tfsctl.rollout.front.front_files import FrontFiles


@dataclass(frozen=True, slots=True)
class Removal:
    """The versions that were removed, and notes on those that were kept."""

    removed: tuple[int, ...]
    notes: tuple[str, ...] = ()


def prune(base: Path, keep: int, *, message: str = "") -> Removal:
    """Remove all but the `keep` highest versions, and never one that a server serves or a label names.

    Removes nothing if a server does not answer. Raises NotFound if `base` is no directory, RolloutError if a version
    cannot be removed.
    """
    numbers = sorted({found.version for found in model_dir.list_versions(base)})
    served = _needed_versions(base)
    old = numbers[: max(0, len(numbers) - keep)]
    if served.unknown and old:
        servers = ", ".join(served.unknown)
        return Removal((), (f"no version was removed: the server {servers} does not report which versions it serves",))
    notes = [f"version {version} was kept: {served.reasons[version]}" for version in old if version in served.versions]
    removed = [version for version in old if version not in served.versions]
    return Removal(tuple(removed), (*notes, *_remove_all(base, "prune", removed, message)))


def remove(base: Path, versions: Sequence[int], *, message: str = "") -> Removal:
    """Remove versions. Removes none if one of them is missing or is needed by a server.

    Raises NotFound and RolloutError.
    """
    on_disk = dict.fromkeys(found.version for found in model_dir.list_versions(base))
    for version in versions:
        if version not in on_disk:
            listed = ", ".join(map(str, on_disk)) or "none"
            raise NotFound(f"there is no version {version} in {base} (versions: {listed})")
    served = _needed_versions(base)
    if served.unknown:
        raise RolloutError(
            f"no version was removed: the server {', '.join(served.unknown)} does not report which versions it serves",
            hint="tfsctl ps shows the servers; tfsctl stop NAME stops one",
        )
    needed = next((version for version in versions if version in served.versions), None)
    if needed is not None:
        raise RolloutError(
            f"version {needed} cannot be removed: {served.reasons[needed]}",
            hint="move the label with tfsctl label, or stop the server"
            if needed in served.labelled
            else "stop the server",
        )
    return Removal(tuple(versions), tuple(_remove_all(base, "remove", versions, message)))


def _remove_all(base: Path, action: Literal["prune", "remove"], versions: Collection[int], message: str) -> list[str]:
    """Remove versions and record it in the history; the note if that cannot be written.

    Raises RolloutError if one cannot be removed. The history has those that were removed before it.
    """
    removed: dict[int, None] = {}
    notes: list[str] = []
    try:
        for found in model_dir.list_versions(base):
            if found.version in versions:  # 1 and 01 are the same version
                model_dir.remove_version(found.path)
                removed[found.version] = None
    except OSError as error:
        before = f" (removed before it: {', '.join(map(str, removed))})" if removed else ""
        raise RolloutError(
            f"version {found.version} in {base} could not be removed: {error.strerror}{before}"
        ) from error
    finally:
        notes += _record(base, action, removed, message)
    return notes


def _record(base: Path, action: Literal["prune", "remove"], versions: Collection[int], message: str) -> list[str]:
    if not versions:
        return []
    event = Event(action, base.resolve().name, versions=tuple(versions), message=message)
    note = journal.append(base, event)
    return [note] if note else []


def _needed_versions(base: Path) -> ServedVersions:
    """The versions that servers serve or need, also those of a canary, which a front does not report as served."""
    served = served_versions(base)
    reasons = dict(served.reasons)
    for server in fleet.servers():
        models = models_in(server, base) if server.is_front else []
        state = FrontFiles(server.record.name).read() if models else None
        for slot in () if state is None else state.slots.values():
            for version in (one for model in models for one in slot.versions.get(model.name, ())):
                reasons.setdefault(version, f"the front {server.record.name} serves it")
    return replace(served, reasons=reasons)
