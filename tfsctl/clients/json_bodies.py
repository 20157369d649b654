"""JSON as the REST API has it, both ways: quickly for what JSON knows, carefully for what it does not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from tfsctl.core import json_tensors

if TYPE_CHECKING:
    import numpy as np


def predict_body(signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """The columnar body of a predict; NaN and Infinity stand bare, as TensorFlow Serving takes them."""
    if all(_is_plain(array) for array in inputs.values()):
        plain = {name: array if _is_native(array) else json_tensors.to_json(array) for name, array in inputs.items()}
        return orjson.dumps({"signature_name": signature, "inputs": plain}, option=orjson.OPT_SERIALIZE_NUMPY)
    values = {name: json_tensors.to_json(array) for name, array in inputs.items()}
    return json.dumps({"signature_name": signature, "inputs": values}).encode()


def parsed_object(content: bytes) -> dict[str, Any] | None:
    """The JSON object of an answer, or None. TensorFlow Serving writes strings raw, so they may hold any byte."""
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            answer = json.loads(content.decode("utf-8", "surrogateescape"))
        except ValueError:
            return None
    return answer if isinstance(answer, dict) else None


def _is_plain(array: np.ndarray) -> bool:
    """Whether JSON knows all of its values."""
    import numpy as np

    if array.dtype.kind in "fcV":
        return array.dtype.kind == "f" and bool(np.isfinite(array).all())
    return True


def _is_native(array: np.ndarray) -> bool:
    """Whether orjson reads it as it is."""
    return array.ndim > 0 and array.dtype.kind in "iufb" and array.dtype.isnative and array.flags.c_contiguous
