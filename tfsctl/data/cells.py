"""Converts one column of a file to the array of an input.

`column_array` converts all values at once; `value_array` converts a single value and explains what is wrong with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from tfsctl.core import dtypes, json_tensors
from tfsctl.core.arrays import cast_exact, object_array
from tfsctl.core.dtypes import DType
from tfsctl.core.types import Shape, TensorSpec
from tfsctl.data.blocks import UnreadableValue
from tfsctl.errors import InvalidInput
from tfsctl.inputs.literals import parse_integer, parse_json, parse_number

if TYPE_CHECKING:
    from tfsctl.data.blocks import Column

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def column_array(values: Column, spec: TensorSpec, *, is_text: bool) -> np.ndarray | None:
    """All values as one array with a row per value; None if they cannot be converted at once.

    `spec` is the spec of one row (see `row_spec`). `is_text` says that values are cells of text to be parsed.
    """
    dtype = dtypes.BY_NAME.get(spec.dtype)
    if dtype is None or len(values) == 0:
        return None
    try:
        array = (
            cast_exact(values, dtype) if isinstance(values, np.ndarray) else _list_array(values, spec, dtype, is_text)
        )
    except (ValueError, TypeError, AttributeError, OverflowError, KeyError, InvalidInput):
        return None
    return None if array is None else _with_row_shape(array, spec.shape)


def value_array(value: object, spec: TensorSpec, *, is_text: bool) -> np.ndarray:
    """One value as an array in the shape of one row. Raises InvalidInput that says what was found and what fits."""
    if isinstance(value, UnreadableValue):
        raise InvalidInput(value.reason or f"there is no value for {spec.name}", hint=value.hint)
    if is_text and isinstance(value, str):
        value = _parse_cell(value, spec)
    elif isinstance(value, np.ndarray) and value.dtype.kind != "O":
        array = cast_exact(value[None], _dtype_of(spec))
        if array is not None and (fitting := _with_row_shape(array, spec.shape)) is not None:
            return fitting[0]
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, list) and spec.shape and all(size in (1, None) for size in spec.shape):
        for _ in spec.shape:  # a bare value for a row of one value
            value = [value]
    return json_tensors.from_json(value, spec)


def row_spec(spec: TensorSpec) -> TensorSpec:
    """The spec of one row of an input: without the batch dimension."""
    return replace(spec, shape=spec.shape[1:] if spec.shape else spec.shape)


def _dtype_of(spec: TensorSpec) -> DType:
    if spec.dtype not in dtypes.BY_NAME:
        raise InvalidInput(f"input {spec.name!r} has dtype {spec.dtype}, which no file holds")
    return dtypes.BY_NAME[spec.dtype]


def _list_array(values: Sequence[Any], spec: TensorSpec, dtype: DType, is_text: bool) -> np.ndarray | None:
    if isinstance(values[0], np.ndarray):
        return cast_exact(np.stack(values), dtype)
    if dtype is dtypes.STRING and isinstance(values[0], (str, bytes)):
        return _string_array(values)
    if not is_text:
        return json_tensors.from_json(list(values), replace(spec, shape=None))
    if spec.shape and math.prod(size or 0 for size in spec.shape) != 1:
        return json_tensors.from_json(orjson.loads(f"[{','.join(values)}]"), replace(spec, shape=None))
    return _cell_array(values, dtype)


def _string_array(values: Sequence[Any]) -> np.ndarray | None:
    if isinstance(values[0], bytes):
        return object_array(list(values)) if set(map(type, values)) == {bytes} else None
    return object_array(list(map(str.encode, values)))  # UnicodeEncodeError is a ValueError: read one by one


def _cell_array(values: Sequence[str], dtype: DType) -> np.ndarray | None:
    """Text cells that each hold one number or boolean, as an array; None if they have to be read one by one."""
    if "_" in "".join(values):  # Python alone reads 1_000 as a number
        return None
    if dtype.is_floating:
        numbers = np.array([float(value) for value in values], np.float64)
        if np.isinf(numbers).any():  # `inf`, or a number that is too large: read one by one
            return None
        with np.errstate(over="ignore"):  # 1e39 is Infinity as a float32, as TensorFlow Serving reads it
            return numbers.astype(dtype.numpy)
    if dtype.is_integer:
        return cast_exact(np.array([int(value) for value in values]), dtype)
    return np.array([_BOOLEANS[value.strip().lower()] for value in values]) if dtype.name == "bool" else None


def _with_row_shape(array: np.ndarray, shape: Shape | None) -> np.ndarray | None:
    """The array with rows of the given shape; a single value per row is reshaped to a row of one value. None if neither."""
    have = array.shape[1:]
    if shape is None or (len(have) == len(shape) and all(w in (None, h) for h, w in zip(have, shape, strict=True))):
        return array
    if math.prod(have) == 1 and all(size in (1, None) for size in shape):
        return array.reshape(len(array), *(1 for _ in shape))
    return None


def _parse_cell(text: str, spec: TensorSpec) -> object:
    """The value of a text cell: the text itself for strings, else one or several numbers or booleans, or JSON."""
    dtype = _dtype_of(spec)
    if dtype is dtypes.STRING:
        if spec.shape and text.startswith("[") and not all(size in (1, None) for size in spec.shape):
            value = parse_json(text)
            return text if value is None else value
        return text
    stripped = text.strip()
    if not stripped:
        raise InvalidInput(f"{spec.name} is empty, but the model wants {spec.dtype}")
    if stripped.startswith("["):
        value = parse_json(stripped)
        return text if value is None else value
    parse = _parse_boolean if dtype.name == "bool" else parse_integer if dtype.is_integer else parse_number
    values = [parse(word) for word in stripped.replace(",", " ").split()]
    if None in values:
        return text
    return values[0] if len(values) == 1 else values


def _parse_boolean(word: str) -> bool | None:
    return _BOOLEANS.get(word.lower())
