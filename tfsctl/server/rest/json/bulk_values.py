"""Converts the well-formed values of a JSON document to arrays, by numpy at once."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np

from tfsctl.core import dtypes
from tfsctl.core.arrays import object_array
from tfsctl.core.dtypes import DType

MAX_RANK = 62  # of numpy's 64, two are for stacking requests; 254 in the real server
SMALL_INTS = ("int32", "int16", "int8", "uint8")  # which TensorFlow Serving reads as int32
_MAX_PACKED_VALUES = 64 * 1024  # packing copies the list of a row
_SMALLEST_NORMAL = {kind: np.finfo(kind).tiny for kind in "efd"}


def bulk_array(value: object, dtype: DType, *, has_literals: bool) -> np.ndarray | None:
    """The array of well-formed values, converted at once; None if they have to be walked."""
    if not isinstance(value, list) or not value:
        return None
    if dtype is dtypes.STRING:
        return _strings(value)
    return _numbers(value, dtype, has_literals=has_literals)


def _strings(values: list[Any]) -> np.ndarray | None:
    try:
        return object_array([text.encode() for text in values])
    except (AttributeError, UnicodeEncodeError):
        return _nested_strings(values)


def _nested_strings(values: list[Any]) -> np.ndarray | None:
    shape = [len(values)]
    while (kinds := set(map(type, values))) == {list}:
        sizes = set(map(len, values))
        if len(sizes) != 1 or len(shape) == MAX_RANK:
            return None
        shape += sizes
        values = list(chain.from_iterable(values))
    if kinds - {str}:
        return None
    try:
        return object_array([text.encode() for text in values]).reshape(shape)
    except UnicodeEncodeError:
        return None


def _numbers(values: list[Any], dtype: DType, *, has_literals: bool) -> np.ndarray | None:
    if dtype.is_floating and not has_literals and (floats := _small_float_array(values)) is not None:
        return as_dtype(floats, dtype)
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError):
        return None
    if array.ndim > MAX_RANK:
        return None
    if not array.size:  # regular lists without a value
        return np.empty(array.shape, dtype=dtype.numpy)
    if dtype.name == "bool":
        return array if array.dtype.kind == "b" else None
    if has_literals and bool in _kinds_of_leaves(values, array.ndim):
        return None
    return as_dtype(array, dtype)


def _small_float_array(values: list[Any]) -> np.ndarray | None:
    """The float64 array of some numbers, or of rows of numbers, in a third of the time that np.asarray takes.

    None for too many values or any others. Booleans count as numbers.
    """
    first = values[0]
    width = len(first) if isinstance(first, list) else 1
    if not 0 < len(values) * width <= _MAX_PACKED_VALUES:
        return None
    try:
        if not isinstance(first, list):
            return np.frombuffer(_packer(len(values))(*values), np.float64)
        pack = _packer(width)
        return np.frombuffer(b"".join([pack(*row) for row in values]), np.float64).reshape(len(values), width)
    except (struct.error, TypeError, OverflowError):
        return None


@lru_cache(256)
def _packer(count: int) -> Callable[..., bytes]:
    return struct.Struct(f"{count}d").pack


def as_dtype(array: np.ndarray, dtype: DType) -> np.ndarray | None:
    """Numbers of JSON as an array of a dtype; None if they do not all fit, or the dtype has no JSON form."""
    if not dtype.has_json_form or array.dtype.kind not in ("iuf" if dtype.is_floating else "iu"):
        return None
    if dtype.is_floating:  # through float64, as RapidJSON does with whole numbers
        return narrow(array.astype(np.float64, copy=False), dtype)
    limits = np.iinfo(np.int32 if dtype.name in SMALL_INTS else dtype.numpy)
    within = limits.min <= array.min() and array.max() <= limits.max
    return array.astype(dtype.numpy, copy=False) if within else None


def _kinds_of_leaves(values: Iterable[Any], rank: int) -> set[type]:
    for _ in range(rank - 1):
        values = chain.from_iterable(values)
    return set(map(type, values))


def narrow(array: np.ndarray, dtype: DType) -> np.ndarray:
    """Numbers as a float dtype: too large ones become Infinity and denormals zero, as in TensorFlow's threads."""
    with np.errstate(over="ignore"):
        narrowed = array.astype(dtype.numpy)
    small = np.abs(narrowed) < _SMALLEST_NORMAL[narrowed.dtype.char]
    if np.count_nonzero(small):  # any() is slower
        narrowed[small & (narrowed != 0)] = 0
    return narrowed
