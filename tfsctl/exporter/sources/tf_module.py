"""The signatures of a tf.Module, or another TensorFlow object that is not a Keras model.

Its attribute `signatures` maps names to `tf.function`s with an input_signature, or to concrete functions, as in models
that TensorFlow loaded. Without that attribute, a `__call__` that is such a function becomes `serving_default`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tfsctl.core.types import DEFAULT_SIGNATURE, TensorSpec
from tfsctl.errors import ExportError
from tfsctl.exporter import naming
from tfsctl.exporter.export_signature import ExportSignature, outputs_by_name


def is_tf_module(value: object) -> bool:
    """Whether `value` is a tf.Module, or has an attribute `signatures`."""
    import tensorflow as tf

    return isinstance(value, tf.Module) or isinstance(getattr(value, "signatures", None), Mapping)


def signatures_of(model: object) -> tuple[ExportSignature, ...]:
    """The signatures. Raises ExportError if there are none, or the inputs of one are unknown."""
    call = getattr(model, "__call__", None)  # noqa: B004 - the function itself is wanted, not whether there is one
    functions = getattr(model, "signatures", None if call is None else {DEFAULT_SIGNATURE: call})
    if not isinstance(functions, Mapping) or not functions:
        raise ExportError(
            f"the {type(model).__name__} has no signatures",
            hint="give it an attribute `signatures`: a dict of name -> tf.function with an input_signature",
        )
    return tuple(_signature(str(name), function) for name, function in functions.items())


def _signature(name: str, function: Callable[..., Any]) -> ExportSignature:
    import keras
    import tensorflow as tf

    concrete = function
    if (
        isinstance(function, tf.types.experimental.GenericFunction)
        and getattr(function, "input_signature", None) is not None
    ):
        concrete = function.get_concrete_function()
    if not isinstance(concrete, tf.types.experimental.ConcreteFunction):
        raise ExportError(
            f"signature {name!r} is a {type(function).__name__} without an input_signature",
            hint="write @tf.function(input_signature=[tf.TensorSpec(...)]) above it",
        )
    signature: Any = concrete  # types-tensorflow lacks the attribute
    tree = signature.structured_input_signature  # (positional, by name); contains the constants bound at tracing
    leaves = keras.tree.flatten_with_path(tree)
    specs = [(path, leaf) for path, leaf in leaves if isinstance(leaf, tf.TensorSpec)]
    other = next(
        (leaf for _, leaf in leaves if isinstance(leaf, tf.TypeSpec) and not isinstance(leaf, tf.TensorSpec)), None
    )
    if other is not None:
        raise ExportError(f"signature {name!r} takes a {type(other).__name__}: a signature takes dense tensors only")
    names = naming.input_names(
        [naming.from_path(path[2:] if path[0] == 0 else path[1:]) or leaf.name for path, leaf in specs]
    )
    inputs = tuple(
        TensorSpec(name, leaf.dtype.name, None if leaf.shape.rank is None else tuple(leaf.shape.as_list()))
        for name, (_, leaf) in zip(names, specs, strict=True)
    )

    def call(*tensors: object) -> dict[str, Any]:
        remaining = iter(tensors)
        filled = [next(remaining) if isinstance(leaf, tf.TensorSpec) else leaf for _, leaf in leaves]
        arguments, keywords = keras.tree.pack_sequence_as(tree, filled)
        return outputs_by_name(function(*arguments, **keywords))

    return ExportSignature(name, inputs, call)
