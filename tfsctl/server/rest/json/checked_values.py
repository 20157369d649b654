"""Converts the values of a JSON document to arrays one by one, which finds the exact error.

Words and rules are those of tensorflow_serving/util/json_tensor.cc.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfsctl.core import dtypes
from tfsctl.core.arrays import object_array
from tfsctl.core.dtypes import DType
from tfsctl.server.rest.json.binary_values import decode_b64, is_b64
from tfsctl.server.rest.json.bulk_values import MAX_RANK, SMALL_INTS, narrow
from tfsctl.server.rest.json.text import debug_text, type_name
from tfsctl.server.status import Code, ServingError, invalid_argument

MAX_WALKED_VALUES = 500_000  # walking these value by value takes a few seconds


def format_error(document: object, message: str) -> ServingError:
    """INVALID_ARGUMENT for a part of a document, which the message quotes."""
    return invalid_argument(f"JSON Value: {debug_text(document)} {message}")


def checked_array(values: list[Any], shape: tuple[int, ...], dtype: DType) -> np.ndarray:
    """The array of values from `checked_values`. Raises INVALID_ARGUMENT if it has more than MAX_RANK dimensions."""
    if len(shape) > MAX_RANK:
        raise invalid_argument(f"Shape must be at most rank {MAX_RANK} but is rank {len(shape)}")
    if not values:  # empty arrays of any dtype, also of those without a JSON form
        return np.empty(shape, dtype=dtype.numpy)
    if dtype is dtypes.STRING:
        return object_array(values).reshape(shape)
    if dtype.is_floating:
        return narrow(np.array(values, dtype=np.float64), dtype).reshape(shape)
    if dtype.name in SMALL_INTS:  # int8 and uint8 keep the low bits of an int32
        return np.array(values, dtype=np.int32).astype(dtype.numpy).reshape(shape)
    return np.array(values, dtype=dtype.numpy).reshape(shape)


def shape_of(value: object) -> tuple[int, ...]:
    """The shape given by the first element at each level."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def checked_values(value: object, shape: tuple[int, ...], dtype: DType) -> list[Any]:
    """All values in order, each checked; lists must have the given sizes. Not recursive: the client chose the depth.

    Raises INVALID_ARGUMENT or UNIMPLEMENTED.
    """
    rank = len(shape)
    leaves: list[Any] = []
    open_lists: list[Iterator[object]] = [iter((value,))]
    left = MAX_WALKED_VALUES
    while open_lists:
        level = len(open_lists) - 1
        for item in open_lists[-1]:
            if not isinstance(item, list):
                if level != rank:
                    raise invalid_argument(
                        f"JSON Value: {debug_text(item)} found at incorrect level: {level + 1} in the JSON DOM. "
                        f"Expected at level: {rank}"
                    )
                leaves.append(_leaf(item, dtype))
                continue
            _check_list(item, level, shape)
            left -= len(item) + 1
            if left < 0:
                raise too_many_values()
            open_lists.append(iter(item))
            break
        else:
            open_lists.pop()
    return leaves


def _check_list(values: list[Any], level: int, shape: tuple[int, ...]) -> None:
    if level >= len(shape):
        raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(values) != shape[level]:
        raise invalid_argument(
            f"Encountered list at unexpected size: {len(values)} at level: {level} expected size: {shape[level]}"
        )


def too_many_values() -> ServingError:
    """INVALID_ARGUMENT for a document that would take seconds to walk."""
    return invalid_argument(f"More than {MAX_WALKED_VALUES} JSON values that are not alike: not all plain, or ragged")


def _leaf(value: object, dtype: DType) -> object:
    if isinstance(value, dict) and dtype is dtypes.STRING:
        if is_b64(value):
            return decode_b64(value["b64"])
        raise format_error(value, "not formatted correctly for base64 data")
    if not isinstance(value, dict) and not dtype.has_json_form:
        message = f"Conversion of JSON Value: {debug_text(value)} to type: {dtype.c_name}"
        raise ServingError(Code.UNIMPLEMENTED, message)
    if dtype is dtypes.STRING:
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
    elif dtype.name == "bool":
        if isinstance(value, bool):
            return value
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and _fits(value, dtype):
        return value
    raise invalid_argument(
        f"JSON Value: {debug_text(value)} Type: {type_name(value)} is not of expected type: {dtype.c_name}"
    )


def _fits(value: float, dtype: DType) -> bool:
    if dtype.is_floating:
        return True
    if not isinstance(value, int):
        return False
    limits = np.iinfo(np.int32 if dtype.name in SMALL_INTS else dtype.numpy)
    return bool(limits.min <= value <= limits.max)
