"""Traces the signatures of a model and writes them as a SavedModel."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfsctl.core import protos
from tfsctl.core.version_files import FINGERPRINT_FILE
from tfsctl.errors import ExportError
from tfsctl.exporter import error_text
from tfsctl.exporter.export_signature import ExportSignature
from tfsctl.exporter.sources.keras2 import is_keras2_model

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


_DENSE_HINTS = {
    "RaggedTensor": "return x.to_tensor(), or x.flat_values and x.row_lengths() as two outputs",
    "SparseTensor": "return tf.sparse.to_dense(x), or x.indices, x.values and x.dense_shape as three outputs",
}


def trace(signature: ExportSignature) -> tf.types.experimental.PolymorphicFunction[..., Any]:
    """The signature as a traced tf.function. Raises ExportError if it cannot be traced."""
    import tensorflow as tf

    shapes: list[Any] = [spec.shape for spec in signature.inputs]  # types-tensorflow knows no unknown rank
    specs = [tf.TensorSpec(shape, spec.dtype, spec.name) for shape, spec in zip(shapes, signature.inputs, strict=True)]
    function = tf.function(signature.call, input_signature=specs, autograph=False)
    try:
        outputs = function.get_concrete_function().structured_outputs
    except Exception as error:
        raise ExportError(f"signature {signature.name} cannot be traced: {error_text.one_line(error)}") from error
    for name, output in outputs.items():
        kind = type(output).__name__.removesuffix("Spec")
        if kind in _DENSE_HINTS:
            raise ExportError(
                f"signature {signature.name} returns a {kind} (output {name!r}): a server returns dense tensors only",
                hint=_DENSE_HINTS[kind],
            )
    return function


def write(model: Any, functions: Mapping[str, Any], directory: Path) -> None:  # noqa: ANN401 - any trackable object
    """Write a model with its traced signatures to `directory`. Raises ExportError if TensorFlow cannot write it."""
    import keras
    import tensorflow as tf

    root: Any = tf.Module()  # not the model: the saved object may not have its own attribute `signatures`
    # TensorFlow does not find all variables of a Keras model inside a tf.Module, so save those that the signatures use.
    used = [variable for function in functions.values() for variable in function.get_concrete_function().variables]
    root.used = sorted(used, key=_creation_order)
    if isinstance(model, keras.Model) or is_keras2_model(model):
        # Save the tables, not the model: TensorFlow would trace it again, with one input.
        root.tables = [part for layer in (model, *model.layers) for part in _resources(layer)]
    else:
        root.model = model
    try:
        tf.saved_model.save(root, str(directory), signatures=functions)
    except (tf.errors.OpError, ValueError, TypeError, AssertionError) as error:
        raise ExportError(f"TensorFlow cannot write the model: {error_text.one_line(error)}") from error
    _fix_identifier(directory / FINGERPRINT_FILE)


def _creation_order(variable: tf.Variable) -> int:
    """A number that grows with each variable. A function has its variables in an order that changes from run to run."""
    return int(getattr(variable, "_unique_id", "_0").rpartition("_")[2])


def _fix_identifier(file: Path) -> None:
    """Derive the identifier in `fingerprint.pb` from its hashes. TensorFlow chooses a random one.

    It is the only part of a SavedModel that differs between two exports of the same model.
    """
    fingerprint = protos.FingerprintDef.FromString(file.read_bytes())
    fingerprint.uuid = ""
    content = fingerprint.SerializeToString(deterministic=True)
    fingerprint.uuid = str(uuid.UUID(bytes=hashlib.sha256(content).digest()[:16], version=5))
    file.write_bytes(fingerprint.SerializeToString(deterministic=True))


def _resources(layer: keras.Layer) -> list[Any]:
    """The resources of a layer, such as lookup tables."""
    import tensorflow as tf

    parts = tf.train.TrackableView(layer).descendants()
    return [part for part in parts if isinstance(part, tf.saved_model.experimental.TrackableResource)]
