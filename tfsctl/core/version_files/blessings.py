"""Reads the blessings of a version: the results of the comparisons that it passed or failed.

`tfsctl/rollout/comparison/blessing.py` writes them to the manifest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from tfsctl.core.types import Json
from tfsctl.core.version_files.manifest import MANIFEST_FILE

_LATEST_TIME = 253402300800  # the year 10000, which datetime cannot represent


@dataclass(frozen=True, slots=True)
class Blessing:
    """The result of one comparison of a version.

    - `time`: ISO 8601, UTC (in the file: Unix time)
    - `compared_with`: the other version
    - `data`: where the compared rows came from; `rows`: their number
    - `gates`: the thresholds; `passed`: whether all of them held
    """

    time: str
    compared_with: Json
    data: Json
    rows: int
    gates: tuple[Json, ...]
    passed: bool


def read_blessings(directory: Path) -> list[Blessing]:
    """The blessings of a version: those under `blessings` in its manifest, oldest first.

    Entries that are not blessings are skipped.
    """
    try:
        entries = json.loads((directory / MANIFEST_FILE).read_bytes()).get("blessings", [])
    except (OSError, RecursionError, ValueError, AttributeError):
        return []
    if not isinstance(entries, list):
        return []
    blessings = [blessing for entry in entries if (blessing := _blessing(entry)) is not None]
    return sorted(blessings, key=lambda blessing: blessing.time)


def _blessing(entry: Json) -> Blessing | None:
    """Read a blessing from JSON; None if the JSON has another form."""
    if not isinstance(entry, dict) or not isinstance(entry.get("passed"), bool):
        return None
    rows, gates = entry.get("rows"), entry.get("gates")
    return Blessing(
        time=_time_text(entry.get("time", "")),
        compared_with=entry.get("compared_with"),
        data=entry.get("data"),
        rows=rows if isinstance(rows, int) else 0,
        gates=tuple(gates) if isinstance(gates, list) else (),
        passed=entry["passed"],
    )


def _time_text(value: Json) -> str:
    """Format a Unix time as ISO 8601. Text and numbers that are no valid time are returned as text, unchanged."""
    if not isinstance(value, (int, float)) or not 0 <= value < _LATEST_TIME:
        return str(value)
    return datetime.fromtimestamp(value, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
