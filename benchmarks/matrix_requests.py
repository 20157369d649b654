"""The requests of `matrix.py`: for each workload, requests whose values and sizes vary."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from matrix_models import IMAGE_SIZE

from tfsctl.core import protos, tensors
from tfsctl.core.types import Json

PREDICT = "/tensorflow.serving.PredictionService/Predict"
CLASSIFY = "/tensorflow.serving.PredictionService/Classify"
WORDS = [
    *("a", "the", "film", "plot", "was", "is", "not", "very", "good", "bad", "great", "awful", "story", "actors"),
    *("end", "scene", "I", "loved", "hated", "it", "and", "but"),
]

Rows = dict[str, np.ndarray]


@dataclass(frozen=True)
class Request:
    """One request in both forms: a path and a body each, not yet framed."""

    grpc_path: str
    grpc_message: bytes
    rest_verb: str
    rest_body: bytes


def requests_for(workload: str, model: str, count: int) -> list[Request]:
    """Different requests of one workload, the same ones in each run."""
    rng = random.Random(workload)  # noqa: S311 - requests are no secret
    if workload == "example":
        return [_classify_request(model, [rng.uniform(-1, 1) for _ in range(8)]) for _ in range(count)]
    return [_predict_request(model, _rows(workload, rng)) for _ in range(count)]


def _rows(workload: str, rng: random.Random) -> Rows:
    if workload in ("text", "embedding768"):
        return {"text": np.array([" ".join(rng.choices(WORDS, k=rng.randint(3, 60)))], object)}
    if workload == "named3":
        return {
            "user": np.array([rng.randrange(10_000)], np.int64),
            "item": np.array([rng.randrange(10_000)], np.int64),
            "price": np.array([rng.uniform(0, 100)], np.float32),
        }
    values = np.random.default_rng(rng.randrange(2**32))
    if workload == "image":
        return {"image": values.random((1, IMAGE_SIZE, IMAGE_SIZE, 3), np.float32).round(3)}
    shape = {"floats10": (1, 10), "floats256": (1, 256), "rows32": (32, 10)}[workload]
    digits = rng.randint(2, 7)
    return {"x": values.normal(size=shape).round(digits).astype(np.float32)}


def _predict_request(model: str, rows: Rows) -> Request:
    message = protos.PredictRequest(model_spec={"name": model})
    for name, array in rows.items():
        message.inputs[name].CopyFrom(tensors.to_proto(array, as_content=False))
    columns = {name: [_json_value(value) for value in array] for name, array in rows.items()}
    instances: list[Any]
    if len(columns) == 1:
        (instances,) = columns.values()
    else:
        instances = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    body = json.dumps({"instances": instances}).encode()
    return Request(PREDICT, message.SerializeToString(), "predict", body)


def _json_value(value: Json) -> Json:
    """A row of an array as JSON, its floats with the digits that a float32 needs."""
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray):
        return [_json_value(item) for item in value]
    return float(str(value)) if value.dtype.kind == "f" else int(value)


def _classify_request(model: str, x: list[float]) -> Request:
    message = protos.ClassificationRequest(model_spec={"name": model})
    message.input.example_list.examples.add().features.feature["x"].float_list.value.extend(x)
    body = json.dumps({"examples": [{"x": x}]}).encode()
    return Request(CLASSIFY, message.SerializeToString(), "classify", body)
