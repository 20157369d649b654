"""Batches of rows that are read from a file and sent to a model.

A batch knows the numbers of its rows in the file, and which rows could not be used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tfsctl.core.json_strings import JsonText
from tfsctl.core.types import Json, Signature
from tfsctl.errors import TfsctlError

NamedArrays = Mapping[str, np.ndarray]
_NO_LABELS: NamedArrays = {}


@dataclass(frozen=True, slots=True)
class Reject:
    """A row without an answer: its number (from 1), the reason, and its values where they are known.

    `labels` are the values of the columns that are copied to the results.
    """

    row: int
    error: str
    values: Any = None
    labels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows that fit into one request.

    - `rows`: their numbers in the source, from 1. Every array has one item per row.
    - `labels`: columns copied unchanged to the results: `--keep`, or the file an image came from.
    - `last_row`: the last row of the source that this batch and all batches before it cover.
    - `rejects`: rows up to `last_row` that could not be used.
    - `fraction_read`: how much of the source was read, 0 to 1; None if unknown.
    """

    rows: np.ndarray
    arrays: NamedArrays
    last_row: int
    rejects: tuple[Reject, ...] = ()
    labels: NamedArrays = field(default_factory=lambda: _NO_LABELS)
    fraction_read: float | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __bool__(self) -> bool:
        return True  # a batch without rows still carries rejects

    def split(self, count: int) -> tuple[RowBatch, RowBatch]:
        """The first `count` rows, and the rest. A reject stays with the rows before it."""
        last_row = int(self.rows[count]) - 1
        first = RowBatch(
            self.rows[:count],
            _slice_rows(self.arrays, 0, count),
            last_row,
            tuple(reject for reject in self.rejects if reject.row <= last_row),
            _slice_rows(self.labels, 0, count),
        )
        return first, self.after(last_row)

    def after(self, row: int) -> RowBatch:
        """The part of this batch after a row of the source."""
        start = int(np.searchsorted(self.rows, row, side="right"))
        return replace(
            self,
            rows=self.rows[start:],
            arrays=_slice_rows(self.arrays, start),
            labels=_slice_rows(self.labels, start),
            rejects=tuple(reject for reject in self.rejects if reject.row > row),
        )

    def has_row_shapes_of(self, other: RowBatch) -> bool:
        """Whether the rows of both have the same shapes, so that they can be concatenated."""
        return all(array.shape[1:] == other.arrays[name].shape[1:] for name, array in self.arrays.items())


def label_values(labels: NamedArrays, row: int) -> dict[str, Any]:
    """The labels of one row as JSON values."""
    return {name: _label_value(array[row]) for name, array in labels.items()}


def _label_value(value: object) -> Json:
    if isinstance(value, JsonText):
        return json.loads(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _slice_rows(arrays: NamedArrays, start: int, end: int | None = None) -> NamedArrays:
    return {name: array[start:end] for name, array in arrays.items()}


def concatenate(batches: list[RowBatch]) -> RowBatch:
    """Consecutive batches with the same row shapes as one. Batches without rows contribute their rejects."""
    if len(batches) == 1:
        return batches[0]
    with_rows = [batch for batch in batches if len(batch)] or batches[:1]
    return RowBatch(
        np.concatenate([batch.rows for batch in with_rows]),
        {name: np.concatenate([batch.arrays[name] for batch in with_rows]) for name in with_rows[0].arrays},
        batches[-1].last_row,
        tuple(reject for batch in batches for reject in batch.rejects),
        {name: np.concatenate([batch.labels[name] for batch in with_rows]) for name in with_rows[0].labels},
        next((batch.fraction_read for batch in reversed(batches) if batch.fraction_read is not None), None),
    )


def batch_reader(
    batches: Iterable[RowBatch], *, is_ready: Callable[[], bool] = lambda: True
) -> Callable[[int], RowBatch | None]:
    """A function that returns the next batch of at most the given number of rows, or None at the end.

    A batch has fewer rows where row shapes change, where the rows end, and while `is_ready` is false: then the function
    returns the rows it has instead of waiting. An error of `batches` is raised after all rows before it were returned.
    """
    source = iter(batches)
    pushed_back: list[RowBatch] = []  # the rest of a batch that was split, or one with other row shapes: at most one
    failures: list[TfsctlError] = []

    def next_batch() -> RowBatch | None:
        try:
            return next(source, None)
        except TfsctlError as error:
            failures.append(error)
            return None

    def read(count: int) -> RowBatch | None:
        pieces: list[RowBatch] = []
        first: RowBatch | None = None  # the first piece that has rows
        rows = rejects = 0
        while rows < count and rejects < count and (not pieces or pushed_back or is_ready()):
            piece = pushed_back.pop() if pushed_back else next_batch()
            if piece is None:
                break
            if first is not None and len(piece) and not first.has_row_shapes_of(piece):
                pushed_back.append(piece)
                break
            if rows + len(piece) > count:
                piece, rest = piece.split(count - rows)
                pushed_back.append(rest)
            first = first or (piece if len(piece) else None)
            rows, rejects = rows + len(piece), rejects + len(piece.rejects)
            pieces.append(piece)
        if not pieces and failures:
            raise failures[0]
        return concatenate(pieces) if pieces else None

    return read


def fixed_batch_size(signature: Signature) -> int | None:
    """The number of rows every request must have; None if any number is allowed.

    It is the batch size the signature fixes, or 1 if an input is a scalar.
    """
    shapes = [spec.shape for spec in signature.inputs if spec.shape is not None]
    if any(shape == () for shape in shapes):
        return 1
    return next((shape[0] for shape in shapes if shape[0] is not None), None)


def request_arrays(batch: RowBatch, signature: Signature) -> dict[str, np.ndarray]:
    """The input arrays of a request for a batch. A scalar input gets the value of the only row."""
    return {
        spec.name: batch.arrays[spec.name][0] if spec.shape == () else batch.arrays[spec.name]
        for spec in signature.inputs
    }
