"""Compares outputs of a model: with those of its export, and between batches of the same rows.

Two floating-point numbers agree if they differ by at most a fraction of the largest number at their place in the batch:

- 1e-3 between a model and its export, which is another graph with other fusions
- 1e-5 (about 84 rounding units of a float32) between runs of one graph with different batch sizes
- 3e-2 in both cases for floats of 16 bits or fewer

NaN agrees with NaN. Integers and strings must be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tfsctl.core import dtypes
from tfsctl.exporter import error_text

Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], dict[str, np.ndarray]]

EXPORT_TOLERANCE, ROW_TOLERANCE, SMALL_FLOAT_TOLERANCE = 1e-3, 1e-5, 3e-2


def agree(one: Arrays, other: Arrays, *, tolerance: float) -> bool:
    """Whether two sets of outputs have the same names and shapes, and values that agree within the tolerance."""
    return _same_structure(one, other) and all(
        _within_tolerance(one[name], other[name], one[name], tolerance) for name in one
    )


def largest_difference(one: Arrays, other: Arrays) -> float:
    """The largest absolute difference between two sets of outputs; infinite if names or shapes differ, 1 if strings do."""
    if not _same_structure(one, other):
        return float("inf")
    return max((_difference(one[name], other[name]) for name in one), default=0.0)


def rows_are_independent(run: Run, inputs: Arrays) -> tuple[bool | None, str]:
    """Whether each output row depends on its own input row only, found by running the model.

    Runs all rows together, in reverse order, half of them, and each row alone. Returns True, or False or None with the
    reason. None means that it is unknown: all rows are equal, or the model is not deterministic.
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
            return False, f"it fails on a part of the rows: {error_text.one_line(error)}"
        if not _same_structure(expected, found):
            return False, "the shape of a row's answer depends on the other rows"
        if not all(_within_tolerance(expected[name], found[name], together[name], ROW_TOLERANCE) for name in expected):
            return False, "a row's answer depends on the other rows"
    return True, ""


def _same_structure(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(one[name].shape == other[name].shape for name in one)


def _within_tolerance(one: np.ndarray, other: np.ndarray, whole: np.ndarray, tolerance: float) -> bool:
    """Whether two arrays agree; `whole` is the whole batch, which sets the scale of each place."""
    dtype = dtypes.BY_NAME.get(one.dtype.name)
    if dtype is None or not (dtype.is_floating or dtype.is_complex):
        return bool(np.array_equal(one, other))
    if dtype.numpy.itemsize <= 2:  # half, bfloat16 and the 8-bit floats
        tolerance = SMALL_FLOAT_TOLERANCE
    one, other = _widened(one), _widened(other)
    size = np.abs(_widened(whole))
    scale = np.max(np.where(np.isfinite(size), size, 0), axis=0 if size.ndim else None, initial=0)
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        same = (one == other) | (np.isnan(one) & np.isnan(other)) | (np.abs(one - other) <= tolerance * scale)
    return bool(np.all(same))


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    if one.dtype.name not in dtypes.BY_NAME:  # strings
        return float(np.any(one != other))
    with np.errstate(invalid="ignore"):
        return float(np.max(np.nan_to_num(np.abs(_widened(one) - _widened(other))), initial=0))


def _widened(array: np.ndarray) -> np.ndarray:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
