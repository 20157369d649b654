"""Convert the inputs of `Client.predict` to the arrays that a signature takes.

Inputs may be

- a value, for a model with one input: text, a number, bytes, an image, a list, an array or a pandas Series
- a mapping of input names to such values
- a list of records: mappings of input names to the values of one row
- a pandas DataFrame, whose columns are matched by name, or one row of it
- the body of a REST request: `{"instances": [...]}` or `{"inputs": ...}`
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from tfsctl.api import data_frames
from tfsctl.api.arrays import array_of_rows, exact_array, input_array
from tfsctl.core.json_strings import is_b64
from tfsctl.core.types import Signature
from tfsctl.errors import InvalidInput
from tfsctl.inputs.predict_inputs import check_row_counts, describe_inputs

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import ArrayLike
    from PIL.Image import Image

    Value: TypeAlias = "ArrayLike | pd.Series[Any] | Image | Sequence[Image]"
    Inputs: TypeAlias = "Value | Mapping[str, Any] | Sequence[Mapping[str, Any]] | pd.DataFrame"

_BODY_KEYS = {"instances", "inputs", "signature_name"}


@dataclass(frozen=True, slots=True)
class NamedValues:
    """A value for each input, and what the values are.

    - `value`: one row or a batch, depending on the shape
    - `rows`: a list with one item per row
    - `exact`: the whole input
    """

    by_name: Mapping[str, object]
    form: Literal["value", "rows", "exact"] = "value"


def input_arrays(inputs: object, signature: Signature, *, are_rows: bool = False) -> dict[str, np.ndarray]:
    """Return an array for every input, with its dtype and shape. If `are_rows`, each value is a batch, not a single row.

    Raises InvalidInput for unknown or missing inputs, for values that cannot be converted without loss, and for inputs
    with different numbers of rows.
    """
    named = _values_by_input(inputs, signature)
    return _arrays(named, signature, are_rows=are_rows)


def arrays_of_rows(rows: Sequence[object], signature: Signature) -> dict[str, np.ndarray]:
    """Return an array for every input from rows: records, or values of the only input. Raises as `input_arrays`."""
    return _arrays(_from_rows(rows, signature), signature)


def _arrays(named: NamedValues, signature: Signature, *, are_rows: bool = False) -> dict[str, np.ndarray]:
    _check_names(named.by_name, signature)
    convert = {"value": array_of_rows if are_rows else input_array, "rows": array_of_rows, "exact": exact_array}[
        named.form
    ]
    arrays = {spec.name: convert(named.by_name[spec.name], spec) for spec in signature.inputs}
    check_row_counts(arrays, signature)
    return arrays


def signature_name_of(inputs: object) -> str | None:
    """Return the `signature_name` of the body of a REST request; None without one."""
    if isinstance(inputs, Mapping) and "signature_name" in inputs and _has_body_keys(inputs):
        return str(inputs["signature_name"])
    return None


def _values_by_input(inputs: object, signature: Signature) -> NamedValues:
    """Return the values by the names of inputs. Raises InvalidInput if a value has no name and several inputs exist."""
    if data_frames.is_frame(inputs):
        found = data_frames.frame_columns(inputs, signature)
        return NamedValues(found, "rows")
    if data_frames.is_series(inputs):
        record = data_frames.record_of_series(inputs, signature)
        if record is not None:
            return NamedValues(record)
    if isinstance(inputs, Mapping) and not _is_b64_value(inputs, signature):
        return _from_body(inputs, signature) if _is_body(inputs, signature) else NamedValues(inputs)
    if _are_records(inputs, signature):
        return NamedValues(_columns_of_records(inputs, signature), "rows")  # type: ignore[arg-type] # checked
    return NamedValues({_only_input(signature): inputs})


def _is_b64_value(mapping: Mapping[Any, Any], signature: Signature) -> bool:
    """Whether a mapping is the value of an input: bytes as JSON, `{"b64": …}`."""
    return is_b64(mapping) and signature.input("b64") is None if isinstance(mapping, dict) else False


def _has_body_keys(mapping: Mapping[Any, Any]) -> bool:
    return mapping.keys() <= _BODY_KEYS and ("instances" in mapping) != ("inputs" in mapping)


def _is_body(mapping: Mapping[Any, Any], signature: Signature) -> bool:
    """Whether a mapping is the body of a REST request. An input of the model may have the name of a key of bodies."""
    if not _has_body_keys(mapping):
        return False
    key = "inputs" if "inputs" in mapping else "instances"
    if signature.input(key) is None or "signature_name" in mapping:
        return True
    return isinstance(mapping[key], Mapping) and not is_b64(mapping[key])


def _from_body(body: Mapping[str, Any], signature: Signature) -> NamedValues:
    if "inputs" in body:
        columns = body["inputs"]
        is_named = isinstance(columns, Mapping) and not _is_b64_value(columns, signature)
        return NamedValues(columns if is_named else {_only_input(signature): columns}, "exact")
    rows = body["instances"]
    if not isinstance(rows, (list, tuple)):
        raise InvalidInput(f'"instances" is of type {type(rows).__name__}, not a list of rows')
    return _from_rows(rows, signature)


def _from_rows(rows: Sequence[object], signature: Signature) -> NamedValues:
    if _are_records(rows, signature):
        return NamedValues(_columns_of_records(rows, signature), "rows")
    return NamedValues({_only_input(signature): list(rows)}, "rows")


def _are_records(rows: object, signature: Signature) -> bool:
    if not isinstance(rows, (list, tuple)) or not rows:
        return False
    first = rows[0]
    return isinstance(first, Mapping) and not _is_b64_value(first, signature)


def _columns_of_records(rows: Sequence[object], signature: Signature) -> dict[str, list[object]]:
    """Return the values of each input, one per record. Raises InvalidInput for a record with other names."""
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise InvalidInput(f"row {number} is of type {type(row).__name__}, not a mapping of input names to values")
        _check_names(row, signature, f"row {number}: ")
    return {spec.name: [row[spec.name] for row in rows] for spec in signature.inputs}  # type: ignore[index] # checked


def _check_names(values: Mapping[Any, object], signature: Signature, where: str = "") -> None:
    """Raise InvalidInput unless there is a value for every input, and for nothing else."""
    for name in values:
        if signature.input(name) is None:
            close = difflib.get_close_matches(str(name), [spec.name for spec in signature.inputs], n=1)
            meant = f" (did you mean {close[0]!r}?)" if close else ""
            raise InvalidInput(f"{where}there is no input {name!r}{meant}; {describe_inputs(signature)}")
    missing = [spec.name for spec in signature.inputs if spec.name not in values]
    if missing:
        raise InvalidInput(f"{where}there is no value for {', '.join(missing)}; {describe_inputs(signature)}")


def _only_input(signature: Signature) -> str:
    """Return the name of the only input. Raises InvalidInput if there are several or none."""
    if len(signature.inputs) != 1:
        names = ", ".join(f'"{spec.name}": …' for spec in signature.inputs)
        raise InvalidInput(f"name the inputs: {describe_inputs(signature)}", hint=f"predict({{{names}}})")
    return signature.inputs[0].name
