"""Builds a comparison from the answers of A and B, which are added batch by batch. Sends nothing itself."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfsctl.core.batches import NamedArrays
from tfsctl.core.compatibility import Change
from tfsctl.errors import InvalidInput
from tfsctl.rollout.comparison import quality
from tfsctl.rollout.comparison.gates import MIN_ROWS
from tfsctl.rollout.comparison.output_difference import OutputDifference, Tolerance, output_kind
from tfsctl.rollout.comparison.quality import Losses, Task
from tfsctl.rollout.comparison.result import ALL_ROWS, Comparison, Part, Quantile, SideFacts, WorstRow

NOISE_ROWS = 512  # rows that are sent to A twice; if A disagrees with itself on one of these, all rows are
WORST_ROWS = 10
MAX_SLICES = 1_000
MAX_SHOWN_VALUES = 20  # of an input or output in the list of the worst rows


@dataclass(frozen=True, slots=True)
class Scoring:
    """The task: which output is scored against which column. `classes` numbers the targets that are text."""

    task: Task
    target: str
    output: str
    classes: Mapping[str, int]


class ComparisonBuilder:
    """Collects the differences of all outputs, the losses of a task, and the rows of each slice."""

    def __init__(
        self,
        tolerance: Tolerance,
        *,
        scoring: Scoring | None = None,
        slices: Sequence[tuple[str, ...]] = (),
        min_rows: int = MIN_ROWS,
    ) -> None:
        self._tolerance = tolerance
        self._scoring = scoring
        self._slices = [_SliceColumn(columns) for columns in slices]
        self._min_rows = min_rows
        self.outputs: dict[str, OutputDifference] = {}
        self._agree: list[np.ndarray] = []
        self._stable: list[np.ndarray] = []
        self._target: list[np.ndarray] = []
        self.losses = (Losses(), Losses())
        self._worst: list[tuple[float, int, WorstRow]] = []
        self._order = itertools.count()
        self.rows = 0

    def add(
        self,
        rows: np.ndarray,
        inputs: NamedArrays,
        a: NamedArrays,
        b: NamedArrays,
        labels: NamedArrays,
        *,
        again: NamedArrays | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add a batch; all arrays have one item per row. `again` is a second answer of A to the same rows.

        Returns for each row whether A and B agree, and whether A agrees with its second answer (bool, [rows] each).
        """
        self.rows += len(rows)
        agree, distance = np.ones(len(rows), bool), np.zeros(len(rows))
        stable = np.ones(len(rows), bool) if again is None else self._stable_rows(a, again)
        for name in sorted(a.keys() & b.keys()):
            difference = self.outputs.setdefault(name, OutputDifference(name, output_kind(a[name]), self._tolerance))
            same, apart = difference.add(a[name], b[name])
            agree &= same
            distance = np.maximum(
                distance, np.where(same & (difference.kind == "classes"), np.minimum(apart, 1), apart)
            )
        self._agree.append(agree)
        self._stable.append(stable)
        self._keep_worst(rows, inputs, a, b, np.where(stable, distance, 0.0))
        for column in self._slices:
            column.add(labels)
        if self._scoring is not None:
            self._score(self._scoring, a, b, labels)
        return agree, stable

    def _stable_rows(self, a: NamedArrays, again: NamedArrays) -> np.ndarray:
        stable = np.ones(len(next(iter(a.values()))), bool)
        for name in a:
            same, _ = OutputDifference(name, output_kind(a[name]), self._tolerance).add(a[name], again[name])
            stable &= same
        return stable

    def _score(self, scoring: Scoring, a: NamedArrays, b: NamedArrays, labels: NamedArrays) -> None:
        target = _numbers(labels[scoring.target], scoring)
        self._target.append(target)
        for side, outputs in zip(self.losses, (a, b), strict=True):
            side.add(scoring.task, target, outputs[scoring.output])

    def _keep_worst(
        self, rows: np.ndarray, inputs: NamedArrays, a: NamedArrays, b: NamedArrays, distance: np.ndarray
    ) -> None:
        least = self._worst[0][0] if len(self._worst) == WORST_ROWS else 0.0
        for at in map(int, np.flatnonzero(distance > least)):
            found = WorstRow(int(rows[at]), float(distance[at]), _row(inputs, at), _row(a, at), _row(b, at))
            entry = (found.distance, -next(self._order), found)
            if len(self._worst) < WORST_ROWS:
                heapq.heappush(self._worst, entry)
            elif entry > self._worst[0]:
                heapq.heapreplace(self._worst, entry)

    def worst(self) -> list[WorstRow]:
        """The rows on which A and B differ most, the worst first."""
        return [row for _, _, row in sorted(self._worst, reverse=True)]

    def unstable(self) -> int:
        """The rows on which A disagrees with itself."""
        return sum(int((~part).sum()) for part in self._stable)

    def parts(self) -> dict[str, Part]:
        """All rows, and every slice, the one with the largest loss first."""
        agree, stable = (np.concatenate(list_) if list_ else np.empty(0, bool) for list_ in (self._agree, self._stable))
        self._agree, self._stable = [agree], [stable]  # one array takes less memory than many
        target = np.concatenate(self._target) if self._target else np.empty(0)
        slices = {
            name: self._part(agree, stable, target, rows) for column in self._slices for name, rows in column.masks()
        }
        ordered = sorted(slices.items(), key=lambda item: (-item[1].harm, item[0]))
        return {ALL_ROWS: self._part(agree, stable, target, None), **dict(ordered)}

    def build(
        self, a: SideFacts, b: SideFacts, *, changes: Sequence[Change], latency: Sequence[Quantile], skipped: int = 0
    ) -> Comparison:
        """The comparison of all rows that were added.

        `changes` are those from A's signatures to B's, and `skipped` is the number of rows that could not be read.
        """
        flips = calibration = None
        if self.losses[0].confidence:  # the task is a classification
            flips = quality.flips(*self.losses)
            calibration = (quality.calibration(self.losses[0]), quality.calibration(self.losses[1]))
        return Comparison(
            a,
            b,
            self.rows,
            self.unstable(),
            self.parts(),
            {name: difference.summary() for name, difference in self.outputs.items()},
            self.worst(),
            changes,
            flips,
            calibration,
            latency,
            skipped,
        )

    def _part(self, agree: np.ndarray, stable: np.ndarray, target: np.ndarray, rows: np.ndarray | None) -> Part:
        counted = stable if rows is None else stable & rows
        count = len(agree) if rows is None else int(rows.sum())
        agreement = float(agree[counted].mean()) if counted.any() else 1.0
        metrics: Sequence[quality.Metric] = ()
        if self._scoring is not None and (rows is None or count >= self._min_rows):
            metrics = quality.metrics(self._scoring.task, *self.losses, target, rows)
        return Part(count, agreement, metrics)


class _SliceColumn:
    """The values of one column (or of two together), as numbers: 4 bytes per row."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._columns = columns
        self._codes: dict[str, int] = {}
        self._rows: list[np.ndarray] = []

    def add(self, labels: NamedArrays) -> None:
        """Add the values of a batch. Raises InvalidInput if there are too many different ones."""
        values = [[_text(value) for value in labels[column]] for column in self._columns]
        names = [
            ",".join(f"{column}={value}" for column, value in zip(self._columns, row, strict=True))
            for row in zip(*values, strict=True)
        ]
        self._rows.append(np.array([self._codes.setdefault(name, len(self._codes)) for name in names], np.int32))
        if len(self._codes) > MAX_SLICES:
            raise InvalidInput(
                f"--slice {','.join(self._columns)} has more than {MAX_SLICES:,} values",
                hint="choose a column with few values, such as a country",
            )

    def masks(self) -> list[tuple[str, np.ndarray]]:
        """Each value, `COLUMN=VALUE`, with the rows that have it."""
        rows = np.concatenate(self._rows) if self._rows else np.empty(0, np.int32)
        return [(name, rows == code) for name, code in self._codes.items()]


def _numbers(values: np.ndarray, scoring: Scoring) -> np.ndarray:
    """The targets as numbers. Raises InvalidInput for text that is neither a number nor a known class."""
    found = np.empty(len(values))
    for at, value in enumerate(values):
        text = _text(value)
        if text in scoring.classes:
            found[at] = scoring.classes[text]
            continue
        try:
            found[at] = float(text)
        except ValueError:
            raise InvalidInput(
                f"--target {scoring.target}: {text!r} is not a number",
                hint="--labels FILE lists the names of the classes in order",
            ) from None
    return found


def _row(arrays: NamedArrays, at: int) -> dict[str, Any]:
    """One row as JSON values; long arrays are cut."""
    return {name: _json(array[at]) for name, array in arrays.items()}


def _json(value: object) -> object:
    if isinstance(value, np.ndarray):
        if value.size > MAX_SHOWN_VALUES:
            return [_json(one) for one in value.ravel()[:MAX_SHOWN_VALUES]] + ["…"]
        return [_json(one) for one in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value.item() if isinstance(value, np.generic) else value


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value.item() if isinstance(value, np.generic) else value)
