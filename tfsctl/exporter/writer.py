"""Write a model's endpoints as a SavedModel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfsctl.errors import ExportError
from tfsctl.exporter import failure
from tfsctl.exporter.endpoint import Endpoint

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def trace(endpoint: Endpoint) -> tf.types.experimental.PolymorphicFunction[..., Any]:
    """The endpoint as a traced tf.function. Raises ExportError when the model cannot be traced."""
    import tensorflow as tf

    shapes: list[Any] = [spec.shape for spec in endpoint.inputs]  # types-tensorflow knows no unknown rank
    signature = [
        tf.TensorSpec(shape, spec.dtype, spec.name) for shape, spec in zip(shapes, endpoint.inputs, strict=True)
    ]
    function = tf.function(endpoint.call, input_signature=signature, autograph=False)
    try:
        function.get_concrete_function()
    except Exception as error:
        raise ExportError(f"signature {endpoint.name} cannot be traced: {failure.one_line(error)}") from error
    return function


def write(model: object, functions: Mapping[str, Any], directory: Path) -> None:
    """Write a model and its traced signatures to `directory`. Raises ExportError when TensorFlow cannot."""
    import keras
    import tensorflow as tf

    root: Any = tf.Module()  # not the model: TensorFlow reserves the attribute `signatures` of the very object it saves
    if isinstance(model, keras.Model):
        # What the signatures need, not the model: TensorFlow would trace it once more, with one input whatever it takes.
        root.used = [
            variable for function in functions.values() for variable in function.get_concrete_function().variables
        ]
        root.tables = [part for layer in (model, *model.layers) for part in _resources(layer)]
    else:
        root.model = model
    try:
        tf.saved_model.save(root, str(directory), signatures=functions)
    except (tf.errors.OpError, ValueError, TypeError, AssertionError) as error:
        raise ExportError(f"TensorFlow cannot write the model: {failure.one_line(error)}") from error


def _resources(layer: keras.Layer) -> list[Any]:
    """The lookup tables and the like that belong to a layer."""
    import tensorflow as tf

    parts = tf.train.TrackableView(layer).descendants()
    return [part for part in parts if isinstance(part, tf.saved_model.experimental.TrackableResource)]
