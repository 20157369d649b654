"""Columns of values -> an array for an input: in one go where all are well-formed, else value by value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from tfsctl.core import dtypes, tensors
from tfsctl.core.dtypes import DType
from tfsctl.core.types import Shape, TensorSpec
from tfsctl.data.blocks import Unreadable
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.data.blocks import Column

_TRUTH = {"true": True, "false": False, "1": True, "0": False}


def column_array(values: Column, spec: TensorSpec, *, is_text: bool) -> np.ndarray | None:
    """All values at once, [rows, …] for a row spec; None where a value needs a closer look."""
    dtype = dtypes.BY_NAME.get(spec.dtype)
    if dtype is None or len(values) == 0:
        return None
    try:
        array = cast(values, dtype) if isinstance(values, np.ndarray) else _from_list(values, spec, dtype, is_text)
    except (ValueError, TypeError, AttributeError, OverflowError, KeyError, InvalidInput):
        return None
    return None if array is None else _rows_of(array, spec.shape)


def one_value(value: object, spec: TensorSpec, *, is_text: bool) -> np.ndarray:
    """One value for a row spec. Raises InvalidInput that says what was found and what is wanted."""
    if isinstance(value, Unreadable):
        raise InvalidInput(value.why or f"there is no value for {spec.name}")
    if is_text and isinstance(value, str):
        value = _read(value, spec)
    elif isinstance(value, np.ndarray) and value.dtype.kind != "O":
        array = cast(value[None], _known(spec))
        if array is not None and (fitting := _rows_of(array, spec.shape)) is not None:
            return fitting[0]
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, list) and spec.shape and all(size in (1, None) for size in spec.shape):
        for _ in spec.shape:  # a single value is a row of one
            value = [value]
    return tensors.from_json(value, spec)


def row_spec(spec: TensorSpec) -> TensorSpec:
    """What one row of an input is: its shape without the batch dimension."""
    return replace(spec, shape=spec.shape[1:] if spec.shape else spec.shape)


def _known(spec: TensorSpec) -> DType:
    if spec.dtype not in dtypes.BY_NAME:
        raise InvalidInput(f"input {spec.name!r} has dtype {spec.dtype}, which no file holds")
    return dtypes.BY_NAME[spec.dtype]


def _from_list(values: Sequence[Any], spec: TensorSpec, dtype: DType, is_text: bool) -> np.ndarray | None:
    if isinstance(values[0], np.ndarray):
        return cast(np.stack(values), dtype)
    if dtype is dtypes.STRING and isinstance(values[0], (str, bytes)):
        return _from_strings(values)
    if not is_text:
        return tensors.from_json(list(values), replace(spec, shape=None))
    if spec.shape and math.prod(size or 0 for size in spec.shape) != 1:
        return tensors.from_json(orjson.loads(f"[{','.join(values)}]"), replace(spec, shape=None))
    return _from_cells(values, dtype)


def _from_strings(values: Sequence[Any]) -> np.ndarray | None:
    if isinstance(values[0], bytes):
        return tensors.object_array(list(values)) if set(map(type, values)) == {bytes} else None
    try:
        return tensors.object_array(list(map(str.encode, values)))
    except UnicodeEncodeError:  # bytes that are not UTF-8
        return tensors.object_array([str.encode(value, "utf-8", "surrogateescape") for value in values])


def _from_cells(values: Sequence[str], dtype: DType) -> np.ndarray | None:
    """Text cells as single numbers or truth values; None where a closer look is needed."""
    if "_" in "".join(values):  # Python reads 1_000 as a number, nobody else does
        return None
    if dtype.is_floating:
        with np.errstate(over="ignore"):  # 1e39 is Infinity to a float32, as TensorFlow Serving reads it
            return np.array([float(value) for value in values], np.float64).astype(dtype.numpy)
    if dtype.is_integer:
        return cast(np.array([int(value) for value in values]), dtype)
    return np.array([_TRUTH[value.strip().lower()] for value in values]) if dtype.name == "bool" else None


def cast(array: np.ndarray, dtype: DType) -> np.ndarray | None:
    """The same values in another dtype; None where some would not be the same."""
    if array.dtype == dtype.numpy and dtype is not dtypes.STRING:
        return array
    kind = array.dtype.kind
    if dtype is dtypes.STRING:
        return _strings(array) if kind in "SUO" else None
    if dtype.is_floating and kind in "iuf":
        with np.errstate(over="ignore"):
            return array.astype(dtype.numpy)
    if dtype.is_integer and kind in "iuf" and dtype.numpy.kind in "iu" and array.size:
        limits = np.iinfo(dtype.numpy)
        if limits.min <= array.min() and array.max() <= limits.max and (kind != "f" or (array == np.rint(array)).all()):
            return array.astype(dtype.numpy)
    if dtype.is_complex and kind in "iufc":
        return array.astype(dtype.numpy)
    return None


def _strings(array: np.ndarray) -> np.ndarray | None:
    values = array.ravel().tolist()
    encoded = [value if type(value) is bytes else str.encode(value, "utf-8", "surrogateescape") for value in values]
    return tensors.object_array(encoded).reshape(array.shape)


def _rows_of(array: np.ndarray, shape: Shape | None) -> np.ndarray | None:
    """The array with rows of that shape: as it is, or each single value as the row of one it must be."""
    have = array.shape[1:]
    if shape is None or (len(have) == len(shape) and all(w in (None, h) for h, w in zip(have, shape, strict=True))):
        return array
    if math.prod(have) == 1 and all(size in (1, None) for size in shape):
        return array.reshape(len(array), *(1 for _ in shape))
    return None


def _read(text: str, spec: TensorSpec) -> object:
    """What a text cell says to an input: itself to strings, else a number, a truth value, or several of them."""
    dtype = _known(spec)
    if dtype is dtypes.STRING:
        if spec.shape and text.startswith("["):
            return orjson.loads(text)
        return text
    stripped = text.strip()
    if not stripped:
        raise InvalidInput(f"{spec.name} is empty, but the model wants {spec.dtype}")
    if stripped.startswith("["):
        try:
            return orjson.loads(stripped)
        except orjson.JSONDecodeError:
            return text
    words = [_word(word, dtype) for word in stripped.replace(",", " ").split()]
    if not all(isinstance(word, (int, float)) for word in words):
        return text
    return words[0] if len(words) == 1 else words


def _word(word: str, dtype: DType) -> object:
    if dtype.name == "bool":
        return _TRUTH.get(word.lower(), word)
    if "_" in word:  # which Python would pass over
        return word
    for read in (int, float):
        try:
            return read(word)
        except ValueError:
            pass
    return word
