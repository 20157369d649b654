"""A request a model would take, made up from its signature: what people paste to try a server out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from tfsctl.core import dtypes
from tfsctl.core.types import DEFAULT_SIGNATURE, Json, Shape, Signature, TensorSpec

EXAMPLE_TEXT = "This movie is great! :D"
MAX_VALUES = 64  # nobody pastes an image of numbers
_PREDICT_METHODS = ("", "tensorflow/serving/predict")
# What TensorFlow Serving's REST API converts: util/json_tensor.cc.
_IN_JSON = {"float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool", "string"}


def example_signature(signatures: Mapping[str, Signature]) -> Signature | None:
    """The signature to show a request for: `serving_default`, else the first; None where one cannot be made up."""
    default = signatures.get(DEFAULT_SIGNATURE)
    candidates = [default] if default else [signatures[name] for name in sorted(signatures)]
    return next((signature for signature in candidates if _can_be_shown(signature)), None)


def example_body(signature: Signature) -> str | None:
    """The body of a `:predict` request with one row; None where JSON cannot carry a dtype.

    Row format (`instances`) where every tensor has a batch dimension, as that form needs; else columnar (`inputs`).
    """
    tensors = (*signature.inputs, *signature.outputs)
    if any(spec.dtype not in _IN_JSON for spec in tensors):
        return None
    body: dict[str, Any] = {} if signature.name == DEFAULT_SIGNATURE else {"signature_name": signature.name}
    if all(_has_rows(spec) for spec in tensors):
        body["instances"] = [example_row(signature)]
    else:
        body["inputs"] = _bare({spec.name: _filled(spec, _shape(spec)) for spec in signature.inputs})
    return json.dumps(body)


def example_row(signature: Signature) -> Json:
    """One row of input: the bare value of a single input, an object of several; an input without rows is whole."""
    return _bare({spec.name: _filled(spec, _shape(spec)[_has_rows(spec) :]) for spec in signature.inputs})


def _can_be_shown(signature: Signature) -> bool:
    values = sum(math.prod(dim or 1 for dim in _shape(spec)) for spec in signature.inputs)
    known = all(spec.dtype in dtypes.BY_NAME for spec in signature.inputs)
    return signature.method_name in _PREDICT_METHODS and known and 0 < values <= MAX_VALUES


def _bare(values: dict[str, Any]) -> Json:
    return next(iter(values.values())) if len(values) == 1 else values


def _filled(spec: TensorSpec, shape: Shape) -> Json:
    return [_filled(spec, shape[1:])] * (shape[0] or 1) if shape else _scalar(spec)


def _scalar(spec: TensorSpec) -> str | bool | int | float:
    if spec.dtype == "string":
        return EXAMPLE_TEXT
    if spec.dtype == "bool":
        return True
    return 1 if dtypes.BY_NAME[spec.dtype].is_integer else 1.0


def _shape(spec: TensorSpec) -> Shape:
    return (None,) if spec.shape is None else spec.shape  # of unknown rank: a row of scalars is what is least asked for


def _has_rows(spec: TensorSpec) -> bool:
    return _shape(spec)[:1] == (None,)
