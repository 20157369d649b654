"""Output values as text and as JSON values: cells of a table, shortened values, the `--json` document."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tfsctl.core.json_strings import quote_controls
from tfsctl.core.types import Json, Prediction

if TYPE_CHECKING:
    import numpy as np

MAX_VALUES_SHOWN = 24  # larger arrays are summarised on a terminal
MAX_TEXT_LENGTH = 2000  # longer texts are cut on a terminal
_JSON_WORDS = {"True": "true", "False": "false", "nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def document(prediction: Prediction) -> dict[str, Any]:
    """A prediction as JSON values, the same over REST and gRPC. The keys are documented in docs/reference.md.

    If the outputs are a batch, `predictions` has its rows, as in an answer of TensorFlow Serving's REST API.
    """
    outputs = {name: json_values(array, b64=name.endswith("_bytes")) for name, array in prediction.outputs.items()}
    by_row = {"predictions": _by_row(outputs)} if is_batch(prediction) else {}
    return {
        "model": prediction.model,
        "version": prediction.version,
        "signature": prediction.signature,
        "outputs": outputs,
        **by_row,
        "latency_ms": round(prediction.latency_s * 1000, 3),
    }


def _by_row(outputs: Mapping[str, Json]) -> list[Json]:
    """The rows of a batch: values if there is one output, otherwise objects by name of the output."""
    if len(outputs) == 1:
        (rows,) = outputs.values()
        return list(rows)
    return [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]


def json_values(array: np.ndarray, *, b64: bool = False) -> Json:
    """An array as JSON values. A float32 is written with its own shortest digits, not with those of a float64."""
    import numpy as np

    from tfsctl.core.json_tensors import to_json

    if array.dtype not in (np.float32, np.float16):
        return to_json(array, b64=b64)
    if array.ndim and np.isfinite(array).all():
        import orjson

        return orjson.loads(orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY))
    return array.astype(np.str_).astype(np.float64).tolist()


def columns(prediction: Prediction) -> list[str]:
    """The names of the outputs, in the order of the cells of `rows`."""
    return list(prediction.outputs)


def rows(prediction: Prediction, *, cell: Callable[[Any], str] | None = None) -> list[list[str]]:
    """One cell per output for each row of the batch; a single row of whole values if the outputs are not a batch."""
    cell = cell or text
    arrays = list(prediction.outputs.values())
    if not is_batch(prediction):
        return [[cell(array) for array in arrays]]
    return [[cell(array[index]) for array in arrays] for index in range(len(arrays[0]))]


def is_batch(prediction: Prediction) -> bool:
    """Whether all outputs have the same number of rows."""
    arrays = list(prediction.outputs.values())
    return bool(arrays) and all(array.ndim > 0 and len(array) == len(arrays[0]) for array in arrays)


def brief(value: object) -> str:
    """A value shortened for a terminal: a large array is summarised, and a long text is cut."""
    import numpy as np

    if isinstance(value, np.ndarray) and value.size > MAX_VALUES_SHOWN:
        return _summary(value)
    whole = text(value)
    return whole if len(whole) <= MAX_TEXT_LENGTH else f"{whole[:MAX_TEXT_LENGTH]}… ({len(whole)} characters)"


def _summary(array: np.ndarray) -> str:
    from tfsctl.core import dtypes

    flat = array.ravel()
    values = [*map(text, flat[:3]), "…", text(flat[-1])]
    spread = f", {text(flat.min())} to {text(flat.max())}, mean {flat.mean():.6g}" if array.dtype.kind in "iuf" else ""
    return f"{dtypes.from_numpy(array.dtype).name} {list(array.shape)}: {' '.join(values)}{spread}"


def text(value: object) -> str:
    """A value as plain text: the shortest number that reads back the same, text as it is, lists in brackets."""
    import numpy as np

    if not isinstance(value, np.ndarray):
        return _scalar_text(value, quoted=False)
    if value.size == 1:
        return _scalar_text(value.ravel()[0], quoted=False)
    return _list_text(value)


def _list_text(array: np.ndarray) -> str:
    items = (
        [_scalar_text(item, quoted=True) for item in array] if array.ndim == 1 else [_list_text(item) for item in array]
    )
    return f"[{', '.join(items)}]"


def _scalar_text(value: object, *, quoted: bool) -> str:
    """One number or string. Text with control characters is a JSON string, because it could control the terminal."""
    if not isinstance(value, bytes):
        return _JSON_WORDS.get(number := str(value), number).removeprefix("(").removesuffix(")")  # (1+2j)
    try:
        decoded = value.decode()
    except UnicodeDecodeError:
        return json.dumps({"b64": base64.b64encode(value).decode()})
    return json.dumps(decoded, ensure_ascii=False) if quoted else quote_controls(decoded)
