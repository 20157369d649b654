"""The signatures of a tf.Module, or another TensorFlow object that is not a Keras model.

Its attribute `signatures` maps names to `tf.function`s with an input_signature, or to concrete functions, as in models
that TensorFlow loaded. Without that attribute, a `__call__` that is such a function becomes `serving_default`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tfsctl.core.saved_model import SERVE_TAG
from tfsctl.core.types import DEFAULT_SIGNATURE
from tfsctl.errors import ExportError
from tfsctl.exporter import error_text
from tfsctl.exporter.export_signature import ExportSignature
from tfsctl.exporter.samples import Samples
from tfsctl.exporter.sources import tf_function


def is_tf_module(value: object) -> bool:
    """Whether `value` is a tf.Module, or has an attribute `signatures`."""
    import tensorflow as tf

    return isinstance(value, tf.Module) or isinstance(getattr(value, "signatures", None), Mapping)


def signatures_of(model: object, samples: Samples | None = None) -> tuple[ExportSignature, ...]:
    """The signatures. Raises ExportError if there are none, or the inputs of one are unknown.

    `samples` show the inputs of `serving_default` if its function has no input_signature.
    """
    call = getattr(model, "__call__", None)  # noqa: B004 - the function itself is wanted, not whether there is one
    functions = getattr(model, "signatures", None if call is None else {DEFAULT_SIGNATURE: call})
    if not isinstance(functions, Mapping) or not functions:
        raise ExportError(
            f"the {type(model).__name__} has no signatures",
            hint="give it an attribute `signatures`: a dict of name -> tf.function with an input_signature",
        )
    loaded = not hasattr(model, "trainable_variables")  # by tf.saved_model.load, which makes no tf.Module
    return tuple(
        tf_function.signature_of(
            function, samples if name == DEFAULT_SIGNATURE else None, str(name), keep_generated_names=loaded
        )
        for name, function in functions.items()
    )


def load_saved_model(directory: Path | str) -> object:
    """Load a SavedModel as an object with `signatures`, whose functions can be traced again. Raises ExportError."""
    import tensorflow as tf

    try:
        model: object = tf.saved_model.load(str(directory), tags=[SERVE_TAG])
    except Exception as error:
        raise ExportError(
            f"TensorFlow's Python library cannot load {directory}: {error_text.one_line(error)}",
            hint="without options for signatures, tfsctl copies the SavedModel and checks it with the server's own loader",
        ) from error
    return model
