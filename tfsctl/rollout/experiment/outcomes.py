"""Joins the outcomes of users with the version that answered them in an A/B test, and compares both versions.

Rows of one key are averaged first, because the key was assigned at random, not the row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tfsctl.data.readers.csv_rows import CsvRows
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.rollout.experiment.difference import (
    Difference,
    check_confidence,
    mean_difference,
    rate_difference,
    wilson_interval,
)
from tfsctl.rollout.experiment.exposure_store import ExposureStore
from tfsctl.rollout.experiment.student_t import t_quantile

_WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
_SHOWN_KEYS = 3


@dataclass(slots=True)
class UnjoinedRows:
    """Counts of the rows of the outcomes file that are not used, by reason, and some keys without requests."""

    without_key: int = 0
    without_outcome: int = 0
    without_request: int = 0
    several_versions: int = 0
    unknown_keys: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """The number of all unused rows."""
        return self.without_key + self.without_outcome + self.without_request + self.several_versions


@dataclass(frozen=True, slots=True)
class ArmOutcome:
    """The outcome of one version: the number of keys with an outcome, their mean (NaN without keys), and its interval.

    `keys_without_row` are keys that the version answered and that the file does not have.
    """

    keys: int
    keys_without_row: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcomes of both arms. `is_rate`: all outcomes are 0 or 1. `rows` are the joined ones."""

    arms: Mapping[int, ArmOutcome]
    difference: Difference
    is_rate: bool
    rows: int
    unjoined: UnjoinedRows
    key_column: str
    outcome_column: str
    confidence: float
    missing: float | None

    def document(self) -> dict[str, Any]:
        """Convert to JSON values."""
        unjoined = self.unjoined
        return {
            "key_column": self.key_column,
            "outcome_column": self.outcome_column,
            "kind": "rate" if self.is_rate else "mean",
            "confidence": self.confidence,
            "missing": self.missing,
            "joined_rows": self.rows,
            "unjoined_rows": {
                "without_key": unjoined.without_key,
                "without_outcome": unjoined.without_outcome,
                "without_request": unjoined.without_request,
                "several_versions": unjoined.several_versions,
                "unknown_keys": unjoined.unknown_keys,
            },
            "arms": [
                {
                    "version": version,
                    "keys": arm.keys,
                    "keys_without_row": arm.keys_without_row,
                    "mean": _number(arm.mean),
                    "low": _number(arm.low),
                    "high": _number(arm.high),
                }
                for version, arm in self.arms.items()
            ],
            "difference": {
                "value": _number(self.difference.value),
                "low": _number(self.difference.low),
                "high": _number(self.difference.high),
                "p_value": _number(self.difference.p_value),
            },
        }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def join_outcomes(
    path: Path,
    store: ExposureStore,
    versions: tuple[int, int],
    *,
    key_column: str | None = None,
    outcome_column: str | None = None,
    key_header: str | None = None,
    missing: float | None = None,
    confidence: float = 0.95,
    note: Callable[[str], None] = lambda _text: None,
) -> Outcomes:
    """Read a CSV file and compare the outcomes of versions A and B.

    - `key_column`: default: the column named like `key_header`, otherwise the first
    - `outcome_column`: default: the only other column
    - `missing`: the outcome of keys that are not in the file; None leaves them out

    Raises NotFound for a missing file or column, InvalidInput for an unreadable file or a value that is not a number.
    """
    check_confidence(confidence)
    if not path.is_file():
        raise NotFound(f"{path} does not exist", hint="--outcomes FILE.csv")
    unjoined = UnjoinedRows()
    sums: dict[str, tuple[float, int]] = {}
    names = ("", "")
    row = 1
    for block in CsvRows(path.name, path, None, note=note).blocks():
        names = _columns(block.names, key_column, outcome_column, key_header, path.name)
        for key, cell in zip(block.column(names[0]), block.column(names[1]), strict=True):
            row += 1
            if not isinstance(key, str) or not key.strip():
                unjoined.without_key += 1
            elif not isinstance(cell, str) or not cell.strip():
                unjoined.without_outcome += 1
            else:
                total, count = sums.get(key.strip(), (0.0, 0))
                value = _outcome(cell, f"row {row} of {path.name}", names[1])
                sums[key.strip()] = (total + value, count + 1)
    return _compare(sums, store, versions, unjoined, names, missing, confidence)


def _columns(
    found: Sequence[str], key: str | None, outcome: str | None, header: str | None, file: str
) -> tuple[str, str]:
    """The names of the key's column and the outcome's column."""
    for option, name in (("--key", key), ("--outcome", outcome)):
        if name is not None and name not in found:
            raise NotFound(f"{file} has no column {name!r}", hint=f"{option} COLUMN: {', '.join(found)}")
    like_header = [name for name in found if _normalized(name) == _normalized(header or "")]
    chosen = key or (like_header[0] if like_header else found[0])
    others = [name for name in found if name != chosen]
    if outcome is None and len(others) != 1:
        what = "only one column" if not others else f"several columns besides {chosen}: {', '.join(others)}"
        raise InvalidInput(f"{file} has {what}", hint=f"--outcome {others[0] if others else 'COLUMN'}")
    return chosen, outcome or others[0]


def _normalized(name: str) -> str:
    return name.lower().replace("_", "-")


def _outcome(cell: str, place: str, column: str) -> float:
    text = cell.strip()
    try:
        value = _WORDS[text.lower()] if text.lower() in _WORDS else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidInput(
            f"{place}: {column} is {text!r}, not a number",
            hint="an outcome is a number, true or false; empty if unknown",
        )
    return value


def _compare(
    sums: Mapping[str, tuple[float, int]],
    store: ExposureStore,
    versions: tuple[int, int],
    unjoined: UnjoinedRows,
    names: tuple[str, str],
    missing: float | None,
    confidence: float,
) -> Outcomes:
    values: dict[int, list[float]] = {version: [] for version in versions}
    answered = store.versions_of(sums)
    rows = 0
    for key, (total, count) in sums.items():
        found = answered.get(key, ())
        if not found:
            unjoined.without_request += count
            if len(unjoined.unknown_keys) < _SHOWN_KEYS:
                unjoined.unknown_keys.append(key)
        elif len(found) > 1:
            unjoined.several_versions += count
        else:
            rows += count
            values[found[0]].append(total / count)
    in_store = store.keys_of_one_version()
    without_row = {version: in_store.get(version, 0) - len(values[version]) for version in versions}
    arrays = {}
    for version in versions:
        known = np.array(values[version], np.float64)
        filled = [] if missing is None else [missing] * without_row[version]
        arrays[version] = np.concatenate([known, np.array(filled, np.float64)])
    is_rate = all(bool(np.isin(array, (0.0, 1.0)).all()) for array in arrays.values())
    a, b = (arrays[version] for version in versions)
    if is_rate:
        difference = rate_difference((int(a.sum()), len(a)), (int(b.sum()), len(b)), confidence)
    else:
        difference = mean_difference(a, b, confidence)
    arms = {
        version: _arm(arrays[version], without_row[version], is_rate=is_rate, confidence=confidence)
        for version in versions
    }
    return Outcomes(arms, difference, is_rate, rows, unjoined, *names, confidence, missing)


def _arm(values: np.ndarray, without_row: int, *, is_rate: bool, confidence: float) -> ArmOutcome:
    if not len(values):
        return ArmOutcome(0, without_row, math.nan, math.nan, math.nan)
    mean = float(values.mean())
    if is_rate:
        return ArmOutcome(len(values), without_row, mean, *wilson_interval(int(values.sum()), len(values), confidence))
    if len(values) < 2:
        return ArmOutcome(1, without_row, mean, math.nan, math.nan)
    half = t_quantile((1 + confidence) / 2, len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return ArmOutcome(len(values), without_row, mean, mean - half, mean + half)
