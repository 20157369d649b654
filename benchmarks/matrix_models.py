"""The models that `matrix.py` serves.

    python benchmarks/matrix_models.py FOLDER

writes the models, each twice: as `NAME` with a manifest that allows merging its rows, and as `NAME_single` without.
This is the only benchmark that loads TensorFlow, in a process of its own.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfsctl.core import protos

if TYPE_CHECKING:
    import tensorflow as tf

IMAGE_SIZE = 160
TABLE_ROWS = 2**15
MANIFEST = {"signatures": {"serving_default": {"row_independent": True}}}


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


if __name__ == "__main__":
    write_models(Path(sys.argv[1]))
