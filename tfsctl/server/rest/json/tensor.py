"""Converts REST predict bodies to input arrays, by the rules and in the words of TensorFlow Serving.

A row body lists `instances` (values, or objects with exactly all inputs); a columnar body gives each of `inputs` whole.
Well-formed numbers and strings are converted by numpy at once. Anything else is walked value by value, which finds
the exact error. Unlike `core.json_tensors`, which explains a mismatch to a person, this module reproduces the real
server's leniency and messages. Rules: tensorflow_serving/util/json_tensor.cc.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from tfsctl.core import dtypes
from tfsctl.core.arrays import object_array
from tfsctl.core.dtypes import DType
from tfsctl.server.rest.json.binary_values import decode_b64, is_b64
from tfsctl.server.rest.json.packed_floats import packed_floats
from tfsctl.server.rest.json.text import debug_text, type_name
from tfsctl.server.status import Code, ServingError, invalid_argument

INSTANCES, INPUTS, SIGNATURE_NAME = "instances", "inputs", "signature_name"
MAX_RANK = 64  # numpy's; 254 in the real server
MAX_WALKED_VALUES = 500_000  # walking these value by value takes a few seconds
_SMALL_INTS = ("int32", "int16", "int8", "uint8")


def signature_name(document: object) -> str:
    """The signature a body asks for, "" for the default. Raises INVALID_ARGUMENT if the body is not an object."""
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {debug_text(document)} Is not object")
    name = document.get(SIGNATURE_NAME, "")
    if not isinstance(name, str):
        raise _format_error(document, "not formatted correctly. 'signature_name' key must be a string value.")
    return name


def inputs_from_document(
    document: dict[str, Any], wanted: Mapping[str, DType], body: bytes
) -> tuple[dict[str, np.ndarray], bool]:
    """The arrays of a predict body for inputs of the given dtypes, and whether it was in row form.

    `body` is the text the document was read from. Raises INVALID_ARGUMENT or UNIMPLEMENTED as TensorFlow Serving does.
    """
    has_literals = may_have_literals(body)
    if INSTANCES in document:
        if INPUTS in document:
            raise _format_error(
                document, f"Not formatted correctly expecting only one of '{INPUTS}' or '{INSTANCES}' keys to exist "
            )
        return _from_instances(document, wanted, has_literals=has_literals), True
    if INPUTS in document:
        return _from_inputs(document[INPUTS], wanted, has_literals=has_literals), False
    raise invalid_argument(f"Missing '{INPUTS}' or '{INSTANCES}' key")


def may_have_literals(body: bytes) -> bool:
    """Whether there may be booleans in a body. Numpy would take one among numbers for a number."""
    # A single byte is found ten times as fast as a word, and numbers have neither of these.
    return (b"u" in body and b"true" in body) or (b"l" in body and b"false" in body)


def _format_error(document: object, message: str) -> ServingError:
    return invalid_argument(f"JSON Value: {debug_text(document)} {message}")


# ---- columnar ----
def _from_inputs(value: object, wanted: Mapping[str, DType], *, has_literals: bool) -> dict[str, np.ndarray]:
    if not isinstance(value, dict) or is_b64(value):
        if len(wanted) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        ((name, dtype),) = wanted.items()
        return {name: _whole_tensor(value, dtype, has_literals=has_literals)}
    arrays = {}
    for name, dtype in wanted.items():
        if name not in value:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
        arrays[name] = _whole_tensor(value[name], dtype, has_literals=has_literals)
    return arrays


def _whole_tensor(value: object, dtype: DType, *, has_literals: bool) -> np.ndarray:
    array = _quick(value, dtype, has_literals=has_literals)
    if array is None:
        shape = _shape_of(value)
        array = _array(_leaves(value, shape, dtype), shape, dtype)
    return array


# ---- rows ----
@dataclass(slots=True)
class _Column:
    """One input, collected from rows: all rows must have the first row's shape and number of values."""

    dtype: DType
    shape: tuple[int, ...] | None = None
    size: int = 0
    values: list[Any] = field(default_factory=list)

    def add(self, value: object) -> None:
        shape = _shape_of(value)
        leaves = _leaves(value, shape, self.dtype)
        if self.shape is None:
            self.shape, self.size = shape, len(leaves)
        elif self.size != len(leaves):
            raise invalid_argument(f"Expecting tensor size: {self.size} but got: {len(leaves)}")
        elif self.shape != shape:
            raise invalid_argument(f"Expecting shape {_shape_text(self.shape)} but got: {_shape_text(shape)}")
        self.values += leaves


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _from_instances(
    document: dict[str, Any], wanted: Mapping[str, DType], *, has_literals: bool
) -> dict[str, np.ndarray]:
    rows = document[INSTANCES]
    if not isinstance(rows, list):
        raise _format_error(document, f"Expecting '{INSTANCES}' to be an list/array")
    if not rows:
        raise _format_error(document, f"No values in '{INSTANCES}' array")
    of_objects = is_row_object(rows[0])
    if not of_objects and len(wanted) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    quick = _quick_rows(rows, wanted, of_objects=of_objects, has_literals=has_literals)
    if quick is not None:
        return quick
    if len(rows) > MAX_WALKED_VALUES:
        raise _too_many()
    columns = {name: _Column(dtype) for name, dtype in wanted.items()}
    for index, row in enumerate(rows):
        if of_objects:
            _add_object(row, index, columns)
        else:
            _add_value(row, index, next(iter(columns.values())))
    return {name: _array(c.values, (len(rows), *(c.shape or ())), c.dtype) for name, c in columns.items()}


def plain_rows(document: dict[str, Any]) -> list[Any]:
    """The rows of a body that says nothing else, but perhaps its signature; empty for any other."""
    rows = document.get(INSTANCES)
    return rows if isinstance(rows, list) and len(document) == 1 + (SIGNATURE_NAME in document) else []


def rows_at_once(rows: list[Any], wanted: Mapping[str, DType], *, has_literals: bool) -> dict[str, np.ndarray] | None:
    """The arrays of well-formed rows of one shape, maybe of several bodies; None if there are other values among them.

    `has_literals` tells whether there may be booleans among them.
    """
    of_objects = is_row_object(rows[0])
    if not of_objects and len(wanted) != 1:
        return None
    return _quick_rows(rows, wanted, of_objects=of_objects, has_literals=has_literals)


def _quick_rows(
    rows: list[Any], wanted: Mapping[str, DType], *, of_objects: bool, has_literals: bool
) -> dict[str, np.ndarray] | None:
    arrays = {}
    for name, dtype in wanted.items():
        values = rows
        if of_objects:
            try:
                values = [row[name] for row in rows]
            except (KeyError, TypeError, IndexError):
                return None
            if any(len(row) != len(wanted) for row in rows):
                return None
        array = _quick(values, dtype, has_literals=has_literals)
        if array is None:
            return None
        arrays[name] = array
    return arrays


def _add_object(row: object, index: int, columns: dict[str, _Column]) -> None:
    if not isinstance(row, dict) or is_b64(row):
        raise invalid_argument(f"Expecting object but got list at item {index} of input list")
    for name, value in row.items():
        try:
            if name not in columns:
                raise invalid_argument(f"JSON object: does not have named input: {name}")
            columns[name].add(value)
        except ServingError as error:
            message = f"Failed to process element: {index} key: {name} of '{INSTANCES}' list. Error: {error}"
            raise invalid_argument(message) from None
    if row.keys() != columns.keys():
        raise invalid_argument(
            f"Failed to process element: {index} of '{INSTANCES}' list. JSON object: {debug_text(row)} keys must be "
            f"equal to: {','.join(columns)}"
        )


def _add_value(row: object, index: int, column: _Column) -> None:
    if is_row_object(row):
        raise invalid_argument(f"Expecting value/list but got object at item {index} of input list")
    try:
        column.add(row)
    except ServingError as error:
        raise invalid_argument(f"Failed to process element: {index} of '{INSTANCES}' list. Error: {error}") from None


def is_row_object(value: object) -> bool:
    """Whether a row names its inputs."""
    return isinstance(value, dict) and not is_b64(value)


# ---- values ----
def _quick(value: object, dtype: DType, *, has_literals: bool) -> np.ndarray | None:
    """The array of well-formed values, converted at once; None if they have to be walked."""
    if not isinstance(value, list) or not value:
        return None
    if dtype is dtypes.STRING:
        return _quick_strings(value)
    return _quick_numbers(value, dtype, has_literals=has_literals)


def _quick_strings(values: list[Any]) -> np.ndarray | None:
    try:
        return object_array([text.encode() for text in values])
    except (AttributeError, UnicodeEncodeError):
        return _quick_nested_strings(values)


def _quick_nested_strings(values: list[Any]) -> np.ndarray | None:
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


def _quick_numbers(values: list[Any], dtype: DType, *, has_literals: bool) -> np.ndarray | None:
    if dtype.is_floating and not has_literals and (floats := packed_floats(values)) is not None:
        return as_dtype(floats, dtype)
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError):
        return None
    if not array.size:  # regular lists without a value
        return np.empty(array.shape, dtype=dtype.numpy)
    if dtype.name == "bool":
        return array if array.dtype.kind == "b" else None
    if has_literals and bool in _kinds_of_leaves(values, array.ndim):
        return None
    return as_dtype(array, dtype)


def as_dtype(array: np.ndarray, dtype: DType) -> np.ndarray | None:
    """Numbers of JSON as an array of a dtype; None if they do not all fit, or the dtype has no JSON form."""
    if not dtype.has_json_form or array.dtype.kind not in ("iuf" if dtype.is_floating else "iu"):
        return None
    if dtype.is_floating:  # through float64, as RapidJSON does with whole numbers
        return _narrow(array.astype(np.float64, copy=False), dtype)
    limits = np.iinfo(np.int32 if dtype.name in _SMALL_INTS else dtype.numpy)
    within = limits.min <= array.min() and array.max() <= limits.max
    return array.astype(dtype.numpy) if within else None


def _kinds_of_leaves(values: Iterable[Any], rank: int) -> set[type]:
    for _ in range(rank - 1):
        values = chain.from_iterable(values)
    return set(map(type, values))


_SMALLEST_NORMAL = {kind: np.finfo(kind).tiny for kind in "efd"}


def _narrow(array: np.ndarray, dtype: DType) -> np.ndarray:
    """Numbers as a float dtype: too large ones become Infinity and denormals zero, as in TensorFlow's threads."""
    with np.errstate(over="ignore"):
        narrowed = array.astype(dtype.numpy)
    small = np.abs(narrowed) < _SMALLEST_NORMAL[narrowed.dtype.char]
    if np.count_nonzero(small):  # any() is slower
        narrowed[small & (narrowed != 0)] = 0
    return narrowed


def _array(values: list[Any], shape: tuple[int, ...], dtype: DType) -> np.ndarray:
    if len(shape) > MAX_RANK:
        raise invalid_argument(f"Shape must be at most rank {MAX_RANK} but is rank {len(shape)}")
    if not values:  # empty arrays of any dtype, also of those without a JSON form
        return np.empty(shape, dtype=dtype.numpy)
    if dtype is dtypes.STRING:
        return object_array(values).reshape(shape)
    if dtype.is_floating:
        return _narrow(np.array(values, dtype=np.float64), dtype).reshape(shape)
    if dtype.name in _SMALL_INTS:  # int8 and uint8 keep the low bits of an int32
        return np.array(values, dtype=np.int32).astype(dtype.numpy).reshape(shape)
    return np.array(values, dtype=dtype.numpy).reshape(shape)


def _shape_of(value: object) -> tuple[int, ...]:
    """The shape given by the first element at each level."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _leaves(value: object, shape: tuple[int, ...], dtype: DType) -> list[Any]:
    """All values in order, each checked; lists must have the given sizes. Not recursive: the client chose the depth."""
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
                raise _too_many()
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


def _too_many() -> ServingError:
    return invalid_argument(f"More than {MAX_WALKED_VALUES} JSON values that are not alike: not all plain, or ragged")


def _leaf(value: object, dtype: DType) -> object:
    if isinstance(value, dict) and dtype is dtypes.STRING:
        if is_b64(value):
            return decode_b64(value["b64"])
        raise _format_error(value, "not formatted correctly for base64 data")
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
    limits = np.iinfo(np.int32 if dtype.name in _SMALL_INTS else dtype.numpy)
    return bool(limits.min <= value <= limits.max)
