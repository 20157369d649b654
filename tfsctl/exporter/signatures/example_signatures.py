"""Signatures that take serialized tf.Examples: to predict, classify and regress.

Each input of the original signature is a feature with the same name. Format of classify and regress signatures:
tensorflow_serving/servables/tensorflow/classifier.cc and regressor.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfsctl.core import dtypes, protos
from tfsctl.core.arrays import object_array
from tfsctl.core.inference import METHOD_NAMES
from tfsctl.core.types import PREDICT_METHOD_NAME, TensorSpec
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.exporter.export_signature import ExportSignature

if TYPE_CHECKING:
    import tensorflow as tf

CLASSIFY, REGRESS = "classify", "regress"
_SCORE_NAMES = ("scores", "score", "probabilities", "probs")
_EXAMPLES = "examples"  # TFX's name for the input of a predict signature


def predict_signature(signature: ExportSignature) -> ExportSignature:
    """The signature with one input `examples`, a string for each row. Raises InvalidInput if an input is no feature."""
    call = _parsed(signature)
    return _signature(signature, signature.name, _EXAMPLES, PREDICT_METHOD_NAME, call)


def classify_signature(signature: ExportSignature, labels: tuple[str, ...]) -> ExportSignature:
    """A signature `classify` with the outputs `classes` (labels) and `scores`, both [batch, classes].

    Of a single score and two labels, the first label gets 1 - score. Raises InvalidInput; when it is traced, if the
    output and the labels do not fit.
    """
    import tensorflow as tf

    parsed = _parsed(signature)

    def call(examples: tf.Tensor) -> dict[str, Any]:
        scores = _score_output(parsed(examples), "scores")
        if scores.shape.rank == 1:
            scores = scores[:, tf.newaxis]
        if scores.shape.rank == 2 and scores.shape[1] == 1 and len(labels) == 2:
            scores = tf.concat([1 - scores, scores], axis=1)
        if scores.shape.rank != 2 or scores.shape[1] not in (None, len(labels)):
            raise InvalidInput(f"the scores have the shape {scores.shape}, but there are {len(labels)} labels")
        classes = tf.tile(tf.constant([labels], tf.string), tf.stack([tf.shape(scores)[0], 1]))
        return {"classes": classes, "scores": tf.cast(scores, tf.float32)}

    return _signature(signature, CLASSIFY, "inputs", METHOD_NAMES["classify"], call)


def regress_signature(signature: ExportSignature) -> ExportSignature:
    """A signature `regress` with the output `outputs`, [batch]. Raises InvalidInput, also when it is traced."""
    import tensorflow as tf

    parsed = _parsed(signature)

    def call(examples: tf.Tensor) -> dict[str, Any]:
        values = _score_output(parsed(examples), "outputs")
        size = values.shape[1:].num_elements()
        if size not in (None, 1):
            raise InvalidInput(f"the model returns {size} numbers per row, but regress returns one")
        return {"outputs": tf.cast(tf.reshape(values, [tf.shape(values)[0]]), tf.float32)}

    return _signature(signature, REGRESS, "inputs", METHOD_NAMES["regress"], call)


def read_labels(file: Path) -> tuple[str, ...]:
    """The labels of a file, one per line. Raises NotFound or InvalidInput."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise NotFound(f"no such file: {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read the labels in {file}: {error}") from error
    labels = tuple(line.strip() for line in lines if line.strip())
    if not labels:
        raise InvalidInput(f"{file} has no labels: it is a text file with one label per line")
    return labels


def serialized_rows(columns: Mapping[str, np.ndarray]) -> dict[str | None, np.ndarray]:
    """Rows of a signature's inputs as the column of serialized tf.Examples that `predict_signature` takes."""
    rows = []
    for index in range(len(next(iter(columns.values())))):
        example = protos.Example()
        for name, column in columns.items():
            values, feature = np.ravel(column[index]).tolist(), example.features.feature[name]
            if column.dtype.kind == "O":
                feature.bytes_list.value.extend(values)
            elif dtypes.from_numpy(column.dtype).is_floating:
                feature.float_list.value.extend(values)
            else:
                feature.int64_list.value.extend(map(int, values))
        rows.append(example.SerializeToString(deterministic=True))
    return {_EXAMPLES: object_array(rows)}


def _signature(
    original: ExportSignature, name: str, input_name: str, method_name: str, call: Callable[..., dict[str, Any]]
) -> ExportSignature:
    batch = original.inputs[0].shape[0] if original.inputs[0].shape else None
    return ExportSignature(name, (TensorSpec(input_name, "string", (batch,)),), call, original.notes, method_name)


def _parsed(signature: ExportSignature) -> Callable[[tf.Tensor], dict[str, Any]]:
    """The signature's function, from serialized tf.Examples."""
    import tensorflow as tf

    if not signature.inputs:
        raise InvalidInput(f"signature {signature.name} has no inputs: tf.Examples would have no features")
    features = {spec.name: _feature(spec) for spec in signature.inputs}

    def call(examples: tf.Tensor) -> dict[str, Any]:
        parsed = tf.io.parse_example(examples, features)
        return signature.call(*(tf.cast(parsed[spec.name], spec.dtype) for spec in signature.inputs))

    return call


def _feature(spec: TensorSpec) -> tf.io.FixedLenFeature | tf.io.FixedLenSequenceFeature:
    """How to parse the feature of an input. A single free dimension is padded to the longest row of the batch."""
    import tensorflow as tf

    dtype = dtypes.BY_NAME.get(spec.dtype)
    if dtype is None or dtype.is_complex or not spec.shape:
        raise InvalidInput(
            f"the input {spec.name} ({spec.dtype} {spec.shape_text}) cannot be a feature of a tf.Example"
        )
    kind = tf.string if dtype is dtypes.STRING else tf.float32 if dtype.is_floating else tf.int64
    row = list(spec.shape[1:])
    if row[:1] == [None] and None not in row[1:]:
        return tf.io.FixedLenSequenceFeature(row[1:], kind, allow_missing=True)
    if None in row:
        raise InvalidInput(
            f"the input {spec.name} {spec.shape_text} cannot be a feature of a tf.Example: its sizes must be known",
            hint="only the first dimension after the batch may be unknown",
        )
    return tf.io.FixedLenFeature(row, kind)


def _score_output(outputs: Mapping[str, tf.Tensor], wanted: str) -> tf.Tensor:
    """The output that holds the scores, or the value to regress. Raises InvalidInput if that is not clear."""
    floats = {name: tensor for name, tensor in outputs.items() if tensor.dtype.is_floating}
    names = [name for name in (wanted, *_SCORE_NAMES) if name in floats] or list(floats)
    if len(floats) != 1 and names == list(floats):
        raise InvalidInput(
            f"the model has several outputs: {', '.join(outputs)}",
            hint=f"--output NAME={wanted} chooses one",
        )
    return floats[names[0]]
