"""Whether two answers of a model agree, and whether the rows of a batch affect each other.

Two floating-point numbers agree when they differ by at most a fraction of the largest number at that place in the
batch: 1e-3 between a model and its export, which is another graph, fused differently; 1e-5 (some 84 units of rounding
of a float32) between runs of one graph on batches of different sizes; 3e-2 in both cases for floats of 16 bits and
less. Not-a-number agrees with itself. Whole numbers and strings must be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tfsctl.core import dtypes
from tfsctl.exporter import failure

Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], dict[str, np.ndarray]]

EXPORT_TOLERANCE, ROW_TOLERANCE, SMALL_FLOAT_TOLERANCE = 1e-3, 1e-5, 3e-2


def agree(one: Arrays, other: Arrays, *, tolerance: float) -> bool:
    """Whether two answers have the same outputs and shapes, and values that differ by rounding only."""
    return _alike(one, other) and all(_close(one[name], other[name], one[name], tolerance) for name in one)


def largest_difference(one: Arrays, other: Arrays) -> float:
    """The largest absolute difference of two answers: infinite for other outputs or shapes, 1 for unequal strings."""
    if not _alike(one, other):
        return float("inf")
    return max((_difference(one[name], other[name]) for name in one), default=0.0)


def rows_are_independent(run: Run, inputs: Arrays) -> tuple[bool | None, str]:
    """Whether each row of an answer depends on its own row of `inputs` only, found by running the model.

    The rows run together, reversed, half of them, and each alone. Returns True, or False or None with the reason: None
    where that cannot tell, as with rows that are all equal or a model that does not answer twice in the same way.
    """
    rows = len(next(iter(inputs.values())))
    if all(np.array_equal(array[:1].repeat(rows, axis=0), array) for array in inputs.values()):
        return None, "it takes two different sample rows to tell"
    together = run(inputs)
    if not agree(together, run(inputs), tolerance=ROW_TOLERANCE):
        return None, "it does not answer the same question twice in the same way"
    if any(answer.ndim == 0 or len(answer) != rows for answer in together.values()):
        return False, "its answer does not have a row for each input row"
    every = np.arange(rows)
    for batch in (every[::-1], every[: (rows + 1) // 2], *every[:, None]):
        expected = {name: answer[batch] for name, answer in together.items()}
        try:
            found = run({name: array[batch] for name, array in inputs.items()})
        except Exception as error:  # noqa: BLE001 - whatever the model raises
            return False, f"it fails on a part of the rows: {failure.one_line(error)}"
        if not _alike(expected, found):
            return False, "the shape of a row's answer depends on the other rows"
        if not all(_close(expected[name], found[name], together[name], ROW_TOLERANCE) for name in expected):
            return False, "a row's answer depends on the other rows"
    return True, ""


def _alike(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(one[name].shape == other[name].shape for name in one)


def _close(one: np.ndarray, other: np.ndarray, whole: np.ndarray, tolerance: float) -> bool:
    """Whether two arrays agree; `whole` is the batch that gives each place its scale."""
    dtype = dtypes.BY_NAME.get(one.dtype.name)
    if dtype is None or not (dtype.is_floating or dtype.is_complex):
        return bool(np.array_equal(one, other))
    if dtype.numpy.itemsize <= 2:  # half, bfloat16 and the 8-bit floats
        tolerance = SMALL_FLOAT_TOLERANCE
    one, other = _wide(one), _wide(other)
    size = np.abs(_wide(whole))
    scale = np.max(np.where(np.isfinite(size), size, 0), axis=0 if size.ndim else None, initial=0)
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        same = (one == other) | (np.isnan(one) & np.isnan(other)) | (np.abs(one - other) <= tolerance * scale)
    return bool(np.all(same))


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    if one.dtype.name not in dtypes.BY_NAME:  # strings
        return float(np.any(one != other))
    with np.errstate(invalid="ignore"):
        return float(np.max(np.nan_to_num(np.abs(_wide(one) - _wide(other))), initial=0))


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
