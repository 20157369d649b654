"""Rows on their way to a model: batches of arrays that remember which rows of their source they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tfsctl.core.types import Signature
from tfsctl.errors import TfsctlError

Arrays = Mapping[str, np.ndarray]
_NO_LABELS: Arrays = {}


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was not answered: its number from 1, why, and what it held where that is known."""

    row: int
    error: str
    held: Any = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that can be asked together.

    `rows` are their numbers in the source, from 1; every array has one item a row. `labels` are columns that go into
    the results as they are (the file an image came from). `rejects` fell out on the way; `through` is the last row of
    the source that this batch and all before it account for, and `part` how much of the source that is, 0 to 1.
    """

    rows: np.ndarray
    arrays: Arrays
    through: int
    rejects: tuple[Reject, ...] = ()
    labels: Arrays = field(default_factory=lambda: _NO_LABELS)
    part: float | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __bool__(self) -> bool:
        return True  # one without rows still tells of its rejects

    def split(self, count: int) -> tuple[Batch, Batch]:
        """The first `count` rows, and the rest; rejects stay with the rows before them."""
        through = int(self.rows[count]) - 1
        first = Batch(
            self.rows[:count],
            _items(self.arrays, 0, count),
            through,
            tuple(reject for reject in self.rejects if reject.row <= through),
            _items(self.labels, 0, count),
        )
        return first, self.after(through)

    def after(self, row: int) -> Batch:
        """What of this batch comes after a row of the source."""
        start = int(np.searchsorted(self.rows, row, side="right"))
        rest = replace(
            self, rows=self.rows[start:], arrays=_items(self.arrays, start), labels=_items(self.labels, start)
        )
        return replace(rest, rejects=tuple(reject for reject in self.rejects if reject.row > row))

    def fits(self, other: Batch) -> bool:
        """Whether the rows of both can be asked together: the rest of their shapes is the same."""
        return all(array.shape[1:] == other.arrays[name].shape[1:] for name, array in self.arrays.items())


def _items(arrays: Arrays, start: int, end: int | None = None) -> Arrays:
    return {name: array[start:end] for name, array in arrays.items()}


def joined(pieces: list[Batch]) -> Batch:
    """One batch of consecutive ones that fit; those without rows add their rejects."""
    if len(pieces) == 1:
        return pieces[0]
    full = [piece for piece in pieces if len(piece)] or pieces[:1]
    return Batch(
        np.concatenate([piece.rows for piece in full]),
        {name: np.concatenate([piece.arrays[name] for piece in full]) for name in full[0].arrays},
        pieces[-1].through,
        tuple(reject for piece in pieces for reject in piece.rejects),
        {name: np.concatenate([piece.labels[name] for piece in full]) for name in full[0].labels},
        next((piece.part for piece in reversed(pieces) if piece.part is not None), None),
    )


def taker(batches: Iterable[Batch], *, has_more: Callable[[], bool] = lambda: True) -> Callable[[int], Batch | None]:
    """A function that takes the next batch of at most so many rows; fewer where shapes change or the rows end.

    It does not wait for more while `has_more` is false. What the batches raise is raised once all rows before were taken.
    """
    source = iter(batches)
    left: list[Batch] = []
    unreadable: list[TfsctlError] = []

    def following() -> Batch | None:
        try:
            return next(source, None)
        except TfsctlError as error:
            unreadable.append(error)
            return None

    def take(count: int) -> Batch | None:
        pieces: list[Batch] = []
        first: Batch | None = None
        have = rejects = 0
        while have < count and rejects < count and (not pieces or left or has_more()):
            piece = left.pop() if left else following()
            if piece is None:
                break
            if first is not None and len(piece) and not first.fits(piece):
                left.append(piece)
                break
            if have + len(piece) > count:
                piece, rest = piece.split(count - have)
                left.append(rest)
            first = first or (piece if len(piece) else None)
            have, rejects = have + len(piece), rejects + len(piece.rejects)
            pieces.append(piece)
        if not pieces and unreadable:
            raise unreadable[0]
        return joined(pieces) if pieces else None

    return take


def rows_a_request(signature: Signature) -> int | None:
    """How many rows one request must have: as many as the signature fixes, one where an input is a single value.

    None where any number will do.
    """
    shapes = [spec.shape for spec in signature.inputs if spec.shape is not None]
    if any(shape == () for shape in shapes):
        return 1
    return next((shape[0] for shape in shapes if shape[0] is not None), None)


def request_arrays(batch: Batch, signature: Signature) -> dict[str, np.ndarray]:
    """The arrays of a request: an input that is a single value gets that of the only row."""
    return {
        spec.name: batch.arrays[spec.name][0] if spec.shape == () else batch.arrays[spec.name]
        for spec in signature.inputs
    }
