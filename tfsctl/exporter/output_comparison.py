"""Compares outputs of a model: with those of its export, and between batches of the same rows.

Two floating-point numbers agree if they differ by at most a fraction of the largest number at their place in the batch:

- 1e-3 between a model and its export, which is another graph with other fusions
- 1e-5 (about 84 rounding units of a float32) between runs of one graph with different batch sizes
- 3e-2 in both cases for floats of 16 bits or fewer

NaN agrees with NaN. Integers and strings must be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from tfsctl.core import dtypes
from tfsctl.core.batches import NamedArrays
from tfsctl.exporter import error_text

Run = Callable[[NamedArrays], dict[str, np.ndarray]]
"""Runs a signature: from its inputs by name to its outputs by name."""

EXPORT_TOLERANCE, ROW_TOLERANCE, SMALL_FLOAT_TOLERANCE = 1e-3, 1e-5, 3e-2


def agree(one: NamedArrays, other: NamedArrays, *, tolerance: float) -> bool:
    """Whether two sets of outputs have the same names and shapes, and values that agree within the tolerance."""
    return _same_structure(one, other) and all(
        _within_tolerance(one[name], other[name], one[name], tolerance) for name in one
    )


def largest_difference(one: NamedArrays, other: NamedArrays) -> float:
    """The largest absolute difference between two sets of outputs; infinite if names or shapes differ, 1 if strings do."""
    if not _same_structure(one, other):
        return float("inf")
    return max((_largest_difference(one[name], other[name]) for name in one), default=0.0)


@dataclass(frozen=True, slots=True)
class RowIndependence:
    """Whether each output row depends on its own input row only, found by running the model on the same rows again.

    - `verdict`: True, False, or None if it is unknown; `reason` says why it is not True
    - `permuted`: whether the rows in reverse order gave the same answers; None if that was not tested
    - `together`: the same for the first half of the rows in one batch; `alone`: for each row in its own batch
    """

    verdict: bool | None
    reason: str = ""
    permuted: bool | None = None
    together: bool | None = None
    alone: bool | None = None

    def as_json(self) -> dict[str, object]:
        """The findings for the manifest, which holds the verdict elsewhere."""
        return {"permuted": self.permuted, "together": self.together, "alone": self.alone, "reason": self.reason}


def check_row_independence(run: Run, inputs: NamedArrays) -> RowIndependence:
    """Run all rows twice, in reverse order, half of them, and each row alone, and compare the answers row by row.

    The verdict is None if all rows are equal, or the model is not deterministic.
    """
    rows = len(next(iter(inputs.values())))
    if all(np.array_equal(array[:1].repeat(rows, axis=0), array) for array in inputs.values()):
        return RowIndependence(None, "the test needs two different sample rows")
    whole = run(inputs)
    if not agree(whole, run(inputs), tolerance=ROW_TOLERANCE):
        return RowIndependence(None, "it answers the same rows differently each time")
    if any(answer.ndim == 0 or len(answer) != rows for answer in whole.values()):
        return RowIndependence(False, "its output does not have one row per input row")
    row_numbers = np.arange(rows)
    reasons = {
        "permuted": _describe_difference(run, inputs, whole, [row_numbers[::-1]]),
        "together": _describe_difference(run, inputs, whole, [row_numbers[: (rows + 1) // 2]]),
        "alone": _describe_difference(run, inputs, whole, row_numbers[:, None]),
    }
    reason = next(filter(None, reasons.values()), "")
    return RowIndependence(not reason, reason, **{kind: not found for kind, found in reasons.items()})


def _describe_difference(run: Run, inputs: NamedArrays, whole: NamedArrays, batches: Iterable[np.ndarray]) -> str:
    """How the answers for batches of some rows differ from those in the whole batch; empty if they agree."""
    for batch in batches:
        expected = {name: answer[batch] for name, answer in whole.items()}
        try:
            found = run({name: array[batch] for name, array in inputs.items()})
        except Exception as error:  # noqa: BLE001 - whatever the model raises
            return f"it fails on a subset of the rows: {error_text.one_line(error)}"
        if not _same_structure(expected, found):
            return "the shape of a row's answer depends on the other rows"
        if not all(_within_tolerance(expected[name], found[name], whole[name], ROW_TOLERANCE) for name in expected):
            return "a row's answer depends on the other rows"
    return ""


def _same_structure(one: NamedArrays, other: NamedArrays) -> bool:
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


def _largest_difference(one: np.ndarray, other: np.ndarray) -> float:
    if one.dtype.name not in dtypes.BY_NAME:  # strings
        return float(np.any(one != other))
    with np.errstate(invalid="ignore"):
        return float(np.max(np.nan_to_num(np.abs(_widened(one) - _widened(other))), initial=0))


def _widened(array: np.ndarray) -> np.ndarray:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
