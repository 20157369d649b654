"""The endpoints of a TensorFlow object that is no Keras model: it says itself what its signatures are.

As with TensorFlow's own loaded models, its attribute `signatures` maps a name to a `tf.function` with an
input_signature (or to a concrete function); without that attribute, a `__call__` that is such a function becomes
`serving_default`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tfsctl.core.types import DEFAULT_SIGNATURE, TensorSpec
from tfsctl.errors import ExportError
from tfsctl.exporter import naming
from tfsctl.exporter.endpoint import Endpoint, by_name


def is_tf_module(value: object) -> bool:
    """Whether `value` is a tf.Module, or has signatures like one."""
    import tensorflow as tf

    return isinstance(value, tf.Module) or isinstance(getattr(value, "signatures", None), Mapping)


def endpoints_of(model: object) -> tuple[Endpoint, ...]:
    """An endpoint for each signature. Raises ExportError when there are none, or one does not say what it takes."""
    call = getattr(model, "__call__", None)  # noqa: B004 - the function itself is wanted, not whether there is one
    functions = getattr(model, "signatures", None if call is None else {DEFAULT_SIGNATURE: call})
    if not isinstance(functions, Mapping) or not functions:
        raise ExportError(
            f"the {type(model).__name__} has no signatures",
            hint="give it an attribute `signatures`: a dict of name -> tf.function with an input_signature",
        )
    return tuple(_endpoint(str(name), function) for name, function in functions.items())


def _endpoint(name: str, function: Callable[..., Any]) -> Endpoint:
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
    tree = signature.structured_input_signature  # (positional, by name); constants bound at tracing stand as they are
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
        waiting = iter(tensors)
        filled = [next(waiting) if isinstance(leaf, tf.TensorSpec) else leaf for _, leaf in leaves]
        arguments, keywords = keras.tree.pack_sequence_as(tree, filled)
        return by_name(function(*arguments, **keywords))

    return Endpoint(name, inputs, call)
