"""Helpers for numpy arrays that become inputs of a model: exact casts, strings as bytes, shape checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tfsctl.core import dtypes
from tfsctl.core.dtypes import DType
from tfsctl.core.types import TensorSpec
from tfsctl.errors import InvalidInput

PIECE_VALUES = 4096
"""Objects that one call into C copies, converts or frees: fewer than a millisecond in which no other thread runs."""


def object_array(values: Sequence[object]) -> np.ndarray:
    """A one-dimensional object array with one item per value, even if the values are sequences."""
    count = len(values)
    array = np.empty(count, dtype=object)
    if count <= PIECE_VALUES:
        array[:] = values
    else:
        for start in range(0, count, PIECE_VALUES):
            array[start : start + PIECE_VALUES] = values[start : start + PIECE_VALUES]
    return array


def pieces(array: np.ndarray, size: int = PIECE_VALUES) -> Iterator[np.ndarray]:
    """All values of an array in flat parts of `size` values, in order."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, size):
        yield flat[start : start + size]


def content_bytes(strings: np.ndarray) -> int:
    """How many bytes the strings of an object array have."""
    if strings.size <= PIECE_VALUES:
        return sum(map(len, strings.ravel().tolist()))
    return sum([sum(map(len, part.tolist())) for part in pieces(strings)])


def check_shape(shape: tuple[int, ...], spec: TensorSpec) -> None:
    """Raise InvalidInput unless a shape fits the one that the signature declares for this input."""
    if spec.shape is None:
        return
    fits = len(shape) == len(spec.shape) and all(
        want in (None, have) for have, want in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        raise InvalidInput(
            f"input {spec.name!r} has shape {list(shape)}, but the model wants {spec.dtype} {spec.shape_text}"
        )


def cast_exact(array: np.ndarray, dtype: DType) -> np.ndarray | None:
    """The array in the numpy form of a TensorFlow dtype; None if a value would change.

    - Numbers cast to a floating-point or complex dtype may lose digits, as numbers typed in decimal do, but a finite
      number must not become infinite.
    - Numbers cast to an integer dtype must be integers in its range.
    - Strings (str or bytes) become bytes; text is encoded as UTF-8, and must be encodable.
    - Booleans are not numbers.
    """
    if dtype is dtypes.STRING:
        return _encode_strings(array)
    if array.dtype == dtype.numpy:
        return array
    kind = _kind(array)
    if (dtype.is_floating and kind in "iuf") or (dtype.is_complex and kind in "iufc"):
        with np.errstate(over="ignore"):
            cast = array.astype(dtype.numpy)
        return None if became_infinite(array, cast).any() else cast
    if not dtype.is_integer or kind not in "iuf":
        return None
    if not np.can_cast(array.dtype, dtype.numpy, "safe") and _changed_by_cast(array, dtype).any():
        return None
    return array.astype(dtype.numpy)


def first_changed(array: np.ndarray, dtype: DType) -> tuple[int, ...] | None:
    """The index of the first number that `cast_exact` refuses, or None."""
    if _kind(array) not in "iuf" or not (dtype.is_integer or dtype.is_floating):
        return None
    with np.errstate(over="ignore"):
        mask = _changed_by_cast(array, dtype) if dtype.is_integer else became_infinite(array, array.astype(dtype.numpy))
    changed = np.argwhere(mask)
    return tuple(changed[0].tolist()) if len(changed) else None


def became_infinite(array: np.ndarray, cast: np.ndarray) -> np.ndarray:
    """A mask of the finite numbers of `array` that are infinite in `cast`, the same array in another dtype."""
    infinite = np.isinf(cast)
    return np.asarray(infinite & ~np.isinf(array)) if infinite.any() else infinite


def _kind(array: np.ndarray) -> str:
    """Numpy's kind of an array's dtype; the dtypes of ml_dtypes (bfloat16, 8-bit floats, 4-bit integers) count as "f"."""
    return "f" if array.dtype.kind == "V" and array.dtype.names is None else array.dtype.kind


def _changed_by_cast(array: np.ndarray, dtype: DType) -> np.ndarray:
    """A mask of the numbers that an integer dtype cannot hold."""
    with np.errstate(invalid="ignore"):
        cast = array.astype(dtype.numpy)
        if _kind(array) == "f":
            return np.asarray(cast.astype(np.float64) != array)
        # The bits survive the way there and back, also where only one of the two dtypes is signed: compare signs too.
        return np.asarray((cast.astype(array.dtype) != array) | ((cast < 0) != (array < 0)))


def _encode_strings(array: np.ndarray) -> np.ndarray | None:
    if array.dtype.kind not in "SUO":
        return None
    values = array.ravel().tolist()
    kinds = set(map(type, values))
    if not kinds <= {str, bytes}:
        return None
    if str in kinds:
        try:
            values = [value.encode() if isinstance(value, str) else value for value in values]
        except UnicodeEncodeError:
            return None
    return object_array(values).reshape(array.shape)
