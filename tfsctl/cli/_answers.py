"""A prediction as text: a line a row for people, one document for programs."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from tfsctl.core.types import Prediction

if TYPE_CHECKING:
    import numpy as np


def document(prediction: Prediction) -> dict[str, Any]:
    """The prediction as JSON values; the keys are the same over REST and gRPC, and documented in the README."""
    from tfsctl.core.tensors import to_json

    return {
        "model": prediction.model,
        "version": prediction.version,
        "signature": prediction.signature,
        "outputs": {name: to_json(array, b64=name.endswith("_bytes")) for name, array in prediction.outputs.items()},
        "latency_ms": round(prediction.latency_s * 1000, 3),
    }


def columns(prediction: Prediction) -> list[str]:
    """The outputs, in the order of the cells of `rows`."""
    return list(prediction.outputs)


def rows(prediction: Prediction) -> list[list[str]]:
    """A cell for each output in each row of the batch; one row of whole values where the outputs are no batch."""
    arrays = list(prediction.outputs.values())
    if not arrays or any(array.ndim == 0 or len(array) != len(arrays[0]) for array in arrays):
        return [[text(array) for array in arrays]]
    return [[text(array[index]) for array in arrays] for index in range(len(arrays[0]))]


def text(value: Any) -> str:  # noqa: ANN401 - an array, or one value of it
    """A value as people read it: the shortest number that reads back the same, plain text, lists in brackets."""
    import numpy as np

    if not isinstance(value, np.ndarray):
        return _one(value, quoted=False)
    if value.size == 1:
        return _one(value.ravel()[0], quoted=False)
    return _list(value)


def _list(array: np.ndarray) -> str:
    items = [_one(item, quoted=True) for item in array] if array.ndim == 1 else [_list(item) for item in array]
    return f"[{', '.join(items)}]"


def _one(value: object, *, quoted: bool) -> str:
    """One number or string. Text with control characters is quoted: an answer must not drive the terminal."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        decoded = value.decode()
    except UnicodeDecodeError:
        return json.dumps({"b64": base64.b64encode(value).decode()})
    return decoded if decoded.isprintable() and not quoted else json.dumps(decoded, ensure_ascii=False)
