"""Reads the blessings of a version: the results of the comparisons that it passed or failed.

`tfsctl/rollout/comparison/blessing.py` writes them to the manifest. BLESSINGS_FILE is for those of other programs: tfsctl
only reads it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from tfsctl.core.types import Json
from tfsctl.core.version_files.manifest import MANIFEST_FILE

BLESSINGS_FILE = Path("assets.extra", "tfsctl_blessings.json")


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
    """The blessings of a version, oldest first: those in BLESSINGS_FILE, and those under `blessings` in the manifest.

    Entries that are not blessings are skipped.
    """
    found: list[Blessing] = []
    for file, key in ((MANIFEST_FILE, "blessings"), (BLESSINGS_FILE, None)):
        try:
            document = json.loads((directory / file).read_bytes())
            entries = document if key is None else document.get(key, [])
        except (OSError, RecursionError, ValueError, AttributeError):
            continue
        if not isinstance(entries, list):
            continue
        found += [blessing for entry in entries if (blessing := _blessing(entry)) is not None]
    return sorted(found, key=lambda blessing: blessing.time)


def _blessing(entry: Json) -> Blessing | None:
    """A blessing from its JSON; None if the JSON is anything else."""
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
    """A time of the file as ISO 8601; text stays as it is."""
    if not isinstance(value, (int, float)):
        return str(value)
    return datetime.fromtimestamp(value, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
