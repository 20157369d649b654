"""Makes up an example request from a signature, to paste into a terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from tfsctl.core import dtypes
from tfsctl.core.types import DEFAULT_SIGNATURE, Json, Shape, Signature, TensorSpec
from tfsctl.errors import InvalidInput

EXAMPLE_TEXT = "This movie is great! :D"
MAX_VALUES = 64  # a request with more values is too long to paste
_PREDICT_METHODS = ("", "tensorflow/serving/predict")
# The dtypes that TensorFlow Serving's REST API converts: tensorflow_serving/util/json_tensor.cc.
_JSON_DTYPES = {"float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool", "string"}


def example_signature(signatures: Mapping[str, Signature]) -> Signature | None:
    """The signature for the example: `serving_default` if there is one, else the first that has a short example; or None."""
    default = signatures.get(DEFAULT_SIGNATURE)
    candidates = [default] if default else [signatures[name] for name in sorted(signatures)]
    return next((signature for signature in candidates if _has_short_example(signature)), None)


def example_body(signature: Signature) -> str | None:
    """The body of a REST predict request with one row; None if the REST API does not support a dtype.

    The row format (`instances`) is used if every tensor has a batch dimension, else the columnar format (`inputs`).
    """
    tensors = (*signature.inputs, *signature.outputs)
    if any(spec.dtype not in _JSON_DTYPES for spec in tensors):
        return None
    body: dict[str, Any] = {} if signature.name == DEFAULT_SIGNATURE else {"signature_name": signature.name}
    if all(_has_batch_dimension(spec) for spec in tensors):
        body["instances"] = [example_row(signature)]
    else:
        body["inputs"] = _without_only_name(
            {spec.name: _example_value(spec, _assumed_shape(spec)) for spec in signature.inputs}
        )
    return json.dumps(body)


def example_row(signature: Signature) -> Json:
    """One row: the value of a single input, or an object with the values of several.

    An input without a batch dimension is included whole. Raises InvalidInput for an unknown dtype.
    """
    return _without_only_name(
        {
            spec.name: _example_value(spec, _assumed_shape(spec)[_has_batch_dimension(spec) :])
            for spec in signature.inputs
        }
    )


def _has_short_example(signature: Signature) -> bool:
    values = sum(math.prod(dim or 1 for dim in _assumed_shape(spec)) for spec in signature.inputs)
    known = all(spec.dtype in dtypes.BY_NAME for spec in signature.inputs)
    return signature.method_name in _PREDICT_METHODS and known and 0 < values <= MAX_VALUES


def _without_only_name(values: dict[str, Any]) -> Json:
    return next(iter(values.values())) if len(values) == 1 else values


def _example_value(spec: TensorSpec, shape: Shape) -> Json:
    return [_example_value(spec, shape[1:])] * (shape[0] or 1) if shape else _example_scalar(spec)


def _example_scalar(spec: TensorSpec) -> str | bool | int | float:
    if spec.dtype == "string":
        return EXAMPLE_TEXT
    if spec.dtype == "bool":
        return True
    if spec.dtype not in dtypes.BY_NAME:
        raise InvalidInput(f"input {spec.name!r} has the unknown dtype {spec.dtype}, which no request can hold")
    return 1 if dtypes.BY_NAME[spec.dtype].is_integer else 1.0


def _assumed_shape(spec: TensorSpec) -> Shape:
    return (None,) if spec.shape is None else spec.shape  # unknown rank: a batch of scalars


def _has_batch_dimension(spec: TensorSpec) -> bool:
    return _assumed_shape(spec)[:1] == (None,)
