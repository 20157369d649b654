"""JSON bodies of the REST API: orjson writes and reads ordinary values, the json module NaN, Infinity and raw bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import numpy as np


def predict_body(signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """The columnar body of a predict request. NaN and Infinity are written bare, as TensorFlow Serving accepts them."""
    from tfsctl.core import json_tensors  # loads NumPy, which requests for metadata and status do not need

    if all(_is_standard_json(array) for array in inputs.values()):
        values = {name: array if _is_native(array) else json_tensors.to_json(array) for name, array in inputs.items()}
        return orjson.dumps({"signature_name": signature, "inputs": values}, option=orjson.OPT_SERIALIZE_NUMPY)
    values = {name: json_tensors.to_json(array) for name, array in inputs.items()}
    return json.dumps({"signature_name": signature, "inputs": values}).encode()


def parsed_object(content: bytes) -> dict[str, Any] | None:
    """The JSON object of an answer; None if it is not one, or is nested too deeply.

    TensorFlow Serving writes the bytes of strings unescaped, so an answer may not be UTF-8 text.
    """
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            answer = json.loads(content.decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError):
            return None
    return answer if isinstance(answer, dict) else None


def _is_standard_json(array: np.ndarray) -> bool:
    """Whether standard JSON can represent all values."""
    import numpy as np

    if array.dtype.kind in "fcV":
        return array.dtype.kind == "f" and bool(np.isfinite(array).all())
    return True


def _is_native(array: np.ndarray) -> bool:
    """Whether orjson can write the array without conversion."""
    return array.ndim > 0 and array.dtype.kind in "iufb" and array.dtype.isnative and array.flags.c_contiguous
