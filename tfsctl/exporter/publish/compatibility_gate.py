"""Compares a new version with the latest published one, and refuses changes that would break its clients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tfsctl.core import compatibility, model_dir
from tfsctl.core.saved_model import SAVED_MODEL_FILE, read_saved_model
from tfsctl.core.types import Signature
from tfsctl.errors import ExportError, ModelUnreadable
from tfsctl.exporter.exported import VersionComparison


def compare_with_latest(base: Path, signatures: Mapping[str, Signature]) -> VersionComparison | None:
    """Compare signatures with those of the highest version in `base`.

    Returns None if there is no version, or the latest one cannot be read: no client can use it then.
    """
    latest = max(
        (found for found in model_dir.list_versions(base) if (found.path / SAVED_MODEL_FILE).is_file()),
        key=lambda found: found.version,
        default=None,
    )
    if latest is None:
        return None
    try:
        old = read_saved_model(latest.path).signatures
    except ModelUnreadable:
        return None
    return VersionComparison(latest.version, compatibility.compare_signatures(old, signatures))


def refuse_breaking(name: str, comparison: VersionComparison | None, *, allow_breaking: bool) -> None:
    """Raise ExportError if a change breaks clients of the earlier version, unless that is allowed."""
    if comparison is None or not comparison.breaks or allow_breaking:
        return
    changes = "; ".join(f"{change.signature}: {change.what}" for change in comparison.changes if change.breaks)
    raise ExportError(
        f"clients of {name} version {comparison.version} would break: {changes}",
        hint="--allow-breaking publishes it anyway; --name publishes it as another model",
    )


def describe(comparison: VersionComparison | None) -> list[str]:
    """The changes as notes, the breaking ones first."""
    if comparison is None:
        return []
    changes = sorted(comparison.changes, key=lambda change: not change.breaks)
    return [
        f"signature {change.signature}: {change.what}; "
        + (f"clients of version {comparison.version} break" if change.breaks else "clients can use both versions")
        for change in changes
    ]
