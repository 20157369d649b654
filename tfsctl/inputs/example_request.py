"""Builds an example request for a signature, to paste into a terminal: a sample of the model, or generated values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from tfsctl.core import dtypes
from tfsctl.core.types import DEFAULT_SIGNATURE, PREDICT_METHOD_NAMES, Json, Shape, Signature, TensorSpec
from tfsctl.errors import InvalidInput

EXAMPLE_TEXT = "some text"
MAX_SAMPLE_CHARS = 400  # of a sample as JSON
MAX_VALUES = 64  # a request with more values is too long to paste


def example_signature(signatures: Mapping[str, Signature]) -> Signature | None:
    """The signature for the example: `serving_default`, otherwise the first that has a short example; or None."""
    default = signatures.get(DEFAULT_SIGNATURE)
    candidates = [default] if default else [signatures[name] for name in sorted(signatures)]
    return next((signature for signature in candidates if _has_short_example(signature)), None)


def example_body(signature: Signature) -> str | None:
    """The body of a REST predict request with one row; None if the REST API does not support a dtype.

    The row format (`instances`) is used if every tensor has a batch dimension, otherwise the columnar format (`inputs`).
    """
    tensors = (*signature.inputs, *signature.outputs)
    if not all(spec.dtype in dtypes.BY_NAME and dtypes.BY_NAME[spec.dtype].has_json_form for spec in tensors):
        return None
    body: dict[str, Any] = {} if signature.name == DEFAULT_SIGNATURE else {"signature_name": signature.name}
    shapes = _assumed_shapes(signature)
    outputs = [(None,) if spec.shape is None else spec.shape for spec in signature.outputs]
    if all(shape[:1] == (None,) for shape in (*shapes.values(), *outputs)):
        body["instances"] = [example_row(signature)]
    else:
        row = _row(signature)
        body["inputs"] = _without_only_name(
            {name: [row[name]] if shape[:1] == (None,) else row[name] for name, shape in shapes.items()}
        )
    return json.dumps(body)


def example_row(signature: Signature) -> Json:
    """One row: the value of a single input, or an object with the values of several.

    An input without a batch dimension is included whole. Raises InvalidInput for an unknown dtype.
    """
    return _without_only_name(_row(signature))


def _row(signature: Signature) -> dict[str, Json]:
    """One row by input: the sample of the model if it is known and short, otherwise generated values."""
    sample = _short_sample(signature)
    if sample is not None:
        return {spec.name: sample[spec.name] for spec in signature.inputs}
    shapes = _assumed_shapes(signature)
    return {
        spec.name: _example_value(spec, shapes[spec.name][shapes[spec.name][:1] == (None,) :])
        for spec in signature.inputs
    }


def _short_sample(signature: Signature) -> Mapping[str, Json] | None:
    """The sample of the signature; None if there is none, or if it is too long to paste."""
    sample = signature.sample
    return None if sample is None or len(json.dumps(sample)) > MAX_SAMPLE_CHARS else sample


def _has_short_example(signature: Signature) -> bool:
    values = sum(math.prod(dim or 1 for dim in shape) for shape in _assumed_shapes(signature).values())
    known = all(spec.dtype in dtypes.BY_NAME for spec in signature.inputs)
    is_short = 0 < values <= MAX_VALUES or (values > 0 and _short_sample(signature) is not None)
    return signature.method_name in PREDICT_METHOD_NAMES and known and is_short


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
        raise InvalidInput(f"input {spec.name!r} has the unknown dtype {spec.dtype}, which requests do not support")
    return 1 if dtypes.BY_NAME[spec.dtype].is_integer else 1.0


def _assumed_shapes(signature: Signature) -> dict[str, Shape]:
    """The shape of each input. Without a known rank, it is a batch of scalars, or a scalar if other inputs have shapes.

    TensorFlow 1 leaves the rank of flags such as `is_training` open, which are scalars.
    """
    known = [spec for spec in signature.inputs if spec.shape is not None]
    unknown: Shape = () if known else (None,)
    return {spec.name: unknown if spec.shape is None else spec.shape for spec in signature.inputs}
