"""Converts one column of a file to the array of an input.

`column_array` converts all values at once; `value_array` converts a single value and explains what is wrong with it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from tfsctl.core import dtypes, json_tensors
from tfsctl.core.arrays import cast_exact, object_array
from tfsctl.core.dtypes import DType
from tfsctl.core.json_strings import JsonText
from tfsctl.core.types import Shape, TensorSpec
from tfsctl.data.blocks import CellFormat, UnreadableValue
from tfsctl.errors import InvalidInput
from tfsctl.inputs.encodings import ENCODING_HINT
from tfsctl.inputs.literals import parse_complex, parse_integer, parse_json, parse_number

if TYPE_CHECKING:
    from tfsctl.data.blocks import Column

_WITH_COMMA = re.compile(r"[+-]?[\d.,]*,[\d.,]*(?:[eE][+-]?\d+)?")
_MISSING_WORDS = frozenset({"na", "n/a", "#n/a", "<na>", "null", "none", "nil", "-", "--", "?", "."})
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def column_array(values: Column, spec: TensorSpec, cells: CellFormat | None) -> np.ndarray | None:
    """All values as one array with a row per value; None if they cannot be converted at once.

    `spec` is the spec of one row (see `row_spec`). With `cells`, the values are cells of text to be parsed.
    """
    dtype = dtypes.BY_NAME.get(spec.dtype)
    if dtype is None or len(values) == 0:
        return None
    try:
        array = cast_exact(values, dtype) if isinstance(values, np.ndarray) else _list_array(values, spec, dtype, cells)
    except (ValueError, TypeError, AttributeError, OverflowError, KeyError, InvalidInput):
        return None
    if array is None or len(array) != len(values):  # a cell with several numbers
        return None
    return _with_row_shape(array, spec.shape)


def value_array(value: object, spec: TensorSpec, cells: CellFormat | None) -> np.ndarray:
    """One value as an array in the shape of one row. Raises InvalidInput that says what was found and what fits."""
    if isinstance(value, UnreadableValue):
        raise InvalidInput(value.reason or f"there is no value for {spec.name}", hint=value.hint)
    if cells is not None and isinstance(value, str):
        value = _parse_cell(value, spec, cells)
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


def kept_array(values: Column) -> np.ndarray:
    """A column as it is copied to the results: text as bytes, numbers as they are, anything else as JsonText."""
    if isinstance(values, np.ndarray) and values.dtype.kind not in "OSU":
        return values
    return object_array([_kept_value(value) for value in values])


def _kept_value(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, UnreadableValue):
        value = None
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if not isinstance(value, (bool, int, float, list, dict, type(None))):  # such as a date
        return str(value).encode()
    return JsonText(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode())


def row_spec(spec: TensorSpec) -> TensorSpec:
    """The spec of one row of an input: without the batch dimension."""
    return replace(spec, shape=spec.shape[1:] if spec.shape else spec.shape)


def _dtype_of(spec: TensorSpec) -> DType:
    if spec.dtype not in dtypes.BY_NAME:
        raise InvalidInput(f"input {spec.name!r} has dtype {spec.dtype}, which files cannot contain")
    return dtypes.BY_NAME[spec.dtype]


def _list_array(values: Sequence[Any], spec: TensorSpec, dtype: DType, cells: CellFormat | None) -> np.ndarray | None:
    if isinstance(values[0], np.ndarray):
        return cast_exact(np.stack(values), dtype)
    if cells is not None and cells.missing and not cells.missing.isdisjoint(values):
        if not dtype.is_floating:
            return None
        values = ["nan" if value in cells.missing else value for value in values]
    if dtype is dtypes.STRING and isinstance(values[0], (str, bytes)):
        return _string_array(values)
    if cells is None:
        return json_tensors.from_json(list(values), replace(spec, shape=None))
    if spec.shape and math.prod(size or 0 for size in spec.shape) != 1:
        return json_tensors.from_json(orjson.loads(f"[{','.join(values)}]"), replace(spec, shape=None))
    return _cell_array(values, dtype, cells)


def _string_array(values: Sequence[Any]) -> np.ndarray | None:
    if isinstance(values[0], bytes):
        return object_array(list(values)) if set(map(type, values)) == {bytes} else None
    return object_array(list(map(str.encode, values)))  # UnicodeEncodeError is a ValueError: read one by one


def _cell_array(values: Sequence[str], dtype: DType, cells: CellFormat) -> np.ndarray | None:
    """Text cells that each hold one number or boolean, as an array; None if they have to be read one by one."""
    joined = "".join(values)
    if "_" in joined:  # Python alone reads 1_000 as a number
        return None
    if cells.decimal == ",":
        if "." in joined:
            return None
        values = [value.replace(",", ".") for value in values] if "," in joined else values
    if dtype.is_floating:
        numbers = np.array([float(value) for value in values], np.float64)
        if np.isinf(numbers).any():  # `inf`, or a number that is too large: read one by one
            return None
        return cast_exact(numbers, dtype)
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


def _parse_cell(text: str, spec: TensorSpec, cells: CellFormat) -> object:
    """The value of a text cell: the text itself for strings, otherwise one or several numbers or booleans, or JSON."""
    dtype = _dtype_of(spec)
    if text.strip() in cells.missing:
        if not dtype.is_floating:
            raise InvalidInput(f"{spec.name} is missing, and {spec.dtype} has no value for missing cells")
        return math.nan
    if dtype is dtypes.STRING:
        _check_encoding(text, spec)
        if spec.shape and text.startswith("[") and not all(size in (1, None) for size in spec.shape):
            value = parse_json(text)
            return text if value is None else value
        return text
    stripped = text.strip()
    if not stripped:
        hint = "--na '' reads an empty cell as NaN" if dtype.is_floating and cells.decimal else ""
        raise InvalidInput(f"{spec.name} is empty, but the model wants {spec.dtype}", hint=hint)
    if stripped.startswith("["):
        value = parse_json(stripped)
        return text if value is None else value
    if cells.decimal is not None:
        stripped = _with_decimal_points(stripped, spec, cells.decimal)
    parse = _parser(dtype)
    values = [parse(word) for word in stripped.replace(",", " ").split()]
    if None in values:
        if cells.decimal and dtype.is_floating and stripped.lower() in _MISSING_WORDS:
            raise InvalidInput(
                f"{spec.name} is {text!r}, but the model wants {spec.dtype}", hint=f"--na {text} reads it as NaN"
            )
        return text
    if len(values) > 1 and spec.shape == ():  # `1 000`, which is not a number
        return text
    return values[0] if len(values) == 1 else values


def _parser(dtype: DType) -> Callable[[str], object]:
    """The function that parses one word of a cell; it returns None for a word that does not fit."""
    if dtype.is_complex:
        return parse_complex
    if dtype.name == "bool":
        return _parse_boolean
    return parse_integer if dtype.is_integer else parse_number


def _with_decimal_points(text: str, spec: TensorSpec, decimal: str) -> str:
    """The numbers of a cell with decimal points.

    Raises InvalidInput for a mark that may be a thousands separator, because guessing would change the number.
    """
    if decimal == ",":
        if "." in text and any(map(str.isdigit, text)):
            raise InvalidInput(
                f"{spec.name} is {text!r}, but the decimal mark of this column is the comma",
                hint="write the number with a decimal comma and without thousands separators",
            )
        return text.replace(",", ".")
    if spec.shape is not None and all(size == 1 for size in spec.shape) and _WITH_COMMA.fullmatch(text):
        raise InvalidInput(
            f"{spec.name} is {text!r}, and its comma may be a decimal mark or a thousands separator",
            hint="--decimal , reads it as a decimal mark"
            if text.count(",") == 1 and "." not in text
            else "write the number without thousands separators",
        )
    return text


def _check_encoding(text: str, spec: TensorSpec) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{spec.name} is not UTF-8 text (at character {error.start + 1})", hint=ENCODING_HINT
        ) from None


def _parse_boolean(word: str) -> bool | None:
    return _BOOLEANS.get(word.lower())
