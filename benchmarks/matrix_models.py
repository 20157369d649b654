"""The models that `matrix.py` serves, and requests to them whose values and sizes vary.

    python benchmarks/matrix_models.py FOLDER

writes the models, each twice: as `NAME` with a manifest that allows merging its rows, and as `NAME_single` without.
This is the only benchmark that loads TensorFlow, in a process of its own.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfsctl.core import protos, tensors
from tfsctl.core.types import Json

if TYPE_CHECKING:
    import tensorflow as tf

PREDICT = "/tensorflow.serving.PredictionService/Predict"
CLASSIFY = "/tensorflow.serving.PredictionService/Classify"
IMAGE_SIZE = 160
TABLE_ROWS = 2**15
WORDS = [
    "a",
    "the",
    "film",
    "plot",
    "was",
    "is",
    "not",
    "very",
    "good",
    "bad",
    "great",
    "awful",
    "story",
    "actors",
    "end",
    "scene",
    "I",
    "loved",
    "hated",
    "it",
    "and",
    "but",
]
MANIFEST = {"signatures": {"serving_default": {"row_independent": True}}}

Rows = dict[str, np.ndarray]


@dataclass(frozen=True)
class Request:
    """One request in both forms: a path and a body each, not yet framed."""

    grpc_path: str
    grpc_message: bytes
    rest_verb: str
    rest_body: bytes


# ---- the models ----
def _texts(width: int, activation: str) -> tf.Module:
    """Text -> hashed words -> mean of their embeddings -> a dense layer."""
    import tensorflow as tf

    rng = np.random.default_rng(1)
    module = tf.Module()
    module.table = tf.Variable(rng.normal(size=(TABLE_ROWS, 64)).astype(np.float32))
    module.kernel = tf.Variable(rng.normal(size=(64, width)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(text: tf.Tensor) -> dict[str, tf.Tensor]:
        words = tf.strings.split(tf.strings.lower(text))
        rows = tf.strings.to_hash_bucket_fast(words.flat_values, TABLE_ROWS)
        sums = tf.math.segment_sum(tf.gather(module.table, rows), words.value_rowids())
        return {"output": getattr(tf.nn, activation)(tf.matmul(sums, module.kernel))}

    module.serve = serve
    return module


def _mlp(width: int) -> tf.Module:
    """Floats -> two hidden layers -> ten probabilities."""
    import tensorflow as tf

    rng = np.random.default_rng(2)
    sizes = (width, 128, 64, 10)
    module = tf.Module()
    module.kernels = [tf.Variable(rng.normal(scale=0.1, size=pair).astype(np.float32)) for pair in pairwise(sizes)]

    @tf.function(input_signature=[tf.TensorSpec([None, width], tf.float32, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        for kernel in module.kernels[:-1]:
            x = tf.nn.relu(tf.matmul(x, kernel))
        return {"output": tf.nn.softmax(tf.matmul(x, module.kernels[-1]))}

    module.serve = serve
    return module


def _named() -> tf.Module:
    """Two identifiers and a price -> embeddings -> one score."""
    import tensorflow as tf

    rng = np.random.default_rng(3)
    module = tf.Module()
    module.users = tf.Variable(rng.normal(size=(10_000, 16)).astype(np.float32))
    module.items = tf.Variable(rng.normal(size=(10_000, 16)).astype(np.float32))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int64, name="user"),
            tf.TensorSpec([None], tf.int64, name="item"),
            tf.TensorSpec([None], tf.float32, name="price"),
        ]
    )
    def serve(user: tf.Tensor, item: tf.Tensor, price: tf.Tensor) -> dict[str, tf.Tensor]:
        match = tf.reduce_sum(tf.gather(module.users, user) * tf.gather(module.items, item), axis=1)
        return {"score": tf.sigmoid(match - 0.01 * price)}

    module.serve = serve
    return module


def _example() -> tf.Module:
    """Serialized tf.Examples with eight floats -> scores of three classes."""
    import tensorflow as tf

    rng = np.random.default_rng(4)
    module = tf.Module()
    module.kernel = tf.Variable(rng.normal(size=(8, 3)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def serve(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([8], tf.float32)})["x"]
        scores = tf.nn.softmax(tf.matmul(x, module.kernel))
        return {"scores": scores, "classes": tf.tile([["a", "b", "c"]], [tf.shape(scores)[0], 1])}

    module.serve = serve
    return module


def _image() -> tf.Module:
    """MobileNetV2 with random weights."""
    import keras
    import tensorflow as tf

    model = keras.applications.MobileNetV2(input_shape=(IMAGE_SIZE, IMAGE_SIZE, 3), weights=None, classes=10)
    module = tf.Module()
    module.variables_of_model = [weight.value for weight in model.weights]

    @tf.function(input_signature=[tf.TensorSpec([None, IMAGE_SIZE, IMAGE_SIZE, 3], tf.float32, name="image")])
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"output": model(image, training=False)}

    module.serve = serve
    return module


MAKERS: dict[str, Callable[[], Any]] = {
    "text": lambda: _texts(1, "sigmoid"),
    "floats10": lambda: _mlp(10),
    "floats256": lambda: _mlp(256),
    "named3": _named,
    "embedding768": lambda: _texts(768, "tanh"),
    "example": _example,
    "image": _image,
}
MODEL_OF = {name: name for name in MAKERS} | {"rows32": "floats10"}
"""The workloads of the matrix, and the model that each uses."""


def write_models(folder: Path) -> None:
    """Write all models that are not in the folder yet."""
    import tensorflow as tf

    for name, make in MAKERS.items():
        base = folder / name
        if base.exists():
            continue
        module = make()
        version = folder / f"{name}_single" / "1"
        tf.saved_model.save(module, str(version), signatures=module.serve)
        if name == "example":
            _make_classify(version / "saved_model.pb")
        merged = base.with_suffix(".part")
        shutil.rmtree(merged, ignore_errors=True)
        shutil.copytree(version, merged / "1")
        (merged / "1" / "assets.extra").mkdir(exist_ok=True)
        (merged / "1" / "assets.extra" / "tfsctl_manifest.json").write_text(json.dumps(MANIFEST))
        merged.rename(base)


def _make_classify(file: Path) -> None:
    """Make the default signature one for Classify."""
    saved = protos.SavedModel.FromString(file.read_bytes())
    saved.meta_graphs[0].signature_def["serving_default"].method_name = "tensorflow/serving/classify"
    file.write_bytes(saved.SerializeToString())


# ---- the requests ----
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


if __name__ == "__main__":
    write_models(Path(sys.argv[1]))
