"""Converts REST predict bodies to input arrays, by the rules and in the words of TensorFlow Serving.

A row body lists `instances` (values, or objects with exactly all inputs); a columnar body gives each of `inputs` whole.
Well-formed numbers and strings are converted by numpy at once (`bulk_values`). Anything else is walked value by value
(`checked_values`), which finds the exact error. `core.json_tensors` explains a mismatch to a person; this module has the
real server's leniency and messages. Rules: tensorflow_serving/util/json_tensor.cc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tfsctl.core.dtypes import DType
from tfsctl.server.rest.json.binary_values import is_b64
from tfsctl.server.rest.json.bulk_values import bulk_array
from tfsctl.server.rest.json.checked_values import (
    MAX_WALKED_VALUES,
    checked_array,
    checked_values,
    format_error,
    shape_of,
    too_many_values,
)
from tfsctl.server.rest.json.text import debug_text
from tfsctl.server.status import ServingError, invalid_argument

INSTANCES, INPUTS, SIGNATURE_NAME = "instances", "inputs", "signature_name"


class PredictInputs(NamedTuple):
    """What a predict body says: the signature ("" for the default), its inputs, and whether they are in row form."""

    signature: str
    arrays: dict[str, np.ndarray]
    row_form: bool


def signature_name(document: object) -> str:
    """The signature a body asks for, "" for the default. Raises INVALID_ARGUMENT if the body is not an object."""
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {debug_text(document)} Is not object")
    name = document.get(SIGNATURE_NAME, "")
    if not isinstance(name, str):
        raise format_error(document, "not formatted correctly. 'signature_name' key must be a string value.")
    return name


def plain_signature(document: dict[str, Any]) -> str | None:
    """The signature a body asks for, "" for the default; None if it is not a string."""
    name = document.get(SIGNATURE_NAME, "")
    return name if isinstance(name, str) else None


def plain_inputs(
    document: dict[str, Any], wanted: Mapping[str, DType], body: bytes
) -> tuple[dict[str, np.ndarray], bool] | None:
    """Like `inputs_from_document` for values that numpy converts at once; None for others, and for any error."""
    if (INSTANCES in document) == (INPUTS in document):
        return None
    has_literals = may_have_literals(body)
    if INSTANCES in document:
        rows = document[INSTANCES]
        arrays = rows_at_once(rows, wanted, has_literals=has_literals) if isinstance(rows, list) and rows else None
        return None if arrays is None else (arrays, True)
    columns = document[INPUTS]
    if not isinstance(columns, dict):
        columns = dict.fromkeys(wanted, columns) if len(wanted) == 1 else {}
    arrays = {}
    for name, dtype in wanted.items():
        array = bulk_array(columns.get(name), dtype, has_literals=has_literals)
        if array is None:
            return None
        arrays[name] = array
    return arrays, False


def inputs_from_document(
    document: dict[str, Any], wanted: Mapping[str, DType], body: bytes
) -> tuple[dict[str, np.ndarray], bool]:
    """The arrays of a predict body for inputs of the given dtypes, and whether it was in row form.

    `body` is the text the document was read from. Raises INVALID_ARGUMENT or UNIMPLEMENTED as TensorFlow Serving does.
    """
    has_literals = may_have_literals(body)
    if INSTANCES in document:
        if INPUTS in document:
            raise format_error(
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
    array = bulk_array(value, dtype, has_literals=has_literals)
    if array is None:
        shape = shape_of(value)
        array = checked_array(checked_values(value, shape, dtype), shape, dtype)
    return array


@dataclass(slots=True)
class _Column:
    """One input, collected from rows: all rows must have the first row's shape and number of values."""

    dtype: DType
    shape: tuple[int, ...] | None = None
    size: int = 0
    values: list[Any] = field(default_factory=list)

    def add(self, value: object) -> None:
        shape = shape_of(value)
        leaves = checked_values(value, shape, self.dtype)
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
        raise format_error(document, f"Expecting '{INSTANCES}' to be an list/array")
    if not rows:
        raise format_error(document, f"No values in '{INSTANCES}' array")
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
        raise too_many_values()
    columns = {name: _Column(dtype) for name, dtype in wanted.items()}
    for index, row in enumerate(rows):
        if of_objects:
            _add_object(row, index, columns)
        else:
            _add_value(row, index, next(iter(columns.values())))
    return {name: checked_array(c.values, (len(rows), *(c.shape or ())), c.dtype) for name, c in columns.items()}


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
        array = bulk_array(values, dtype, has_literals=has_literals)
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
