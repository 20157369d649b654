"""Signatures of single TensorFlow functions: a `tf.function`, or a concrete function.

The inputs of a `tf.function` are those of its input_signature, otherwise those of `samples`, by argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

from tfsctl.core import dtypes
from tfsctl.core.types import DEFAULT_SIGNATURE, TensorSpec
from tfsctl.errors import ExportError
from tfsctl.exporter import error_text, naming
from tfsctl.exporter.export_signature import ExportSignature, outputs_by_name
from tfsctl.exporter.samples import Samples

if TYPE_CHECKING:
    from tensorflow.types.experimental import ConcreteFunction, GenericFunction

    TfFunction = GenericFunction[Any, Any]


def is_tf_function(value: object) -> TypeGuard[TfFunction | ConcreteFunction[Any, Any]]:
    """Whether a value is a tf.function or a concrete function."""
    import tensorflow as tf

    kinds = tf.types.experimental
    return isinstance(value, (kinds.GenericFunction, kinds.ConcreteFunction))


def signature_of(
    function: TfFunction | ConcreteFunction[Any, Any],
    samples: Samples | None,
    name: str = DEFAULT_SIGNATURE,
    *,
    keep_generated_names: bool = False,
) -> ExportSignature:
    """The signature of a function. Raises ExportError if its inputs are unknown."""
    import keras
    import tensorflow as tf

    concrete: object = function
    if isinstance(function, tf.types.experimental.GenericFunction):
        if samples is not None and None not in samples.columns and getattr(function, "input_signature", None) is None:
            function = _with_named_inputs(function)
        concrete = _traced(function, samples, name)
    if not isinstance(concrete, tf.types.experimental.ConcreteFunction):
        raise ExportError(
            f"signature {name!r} is a {type(function).__name__} without an input_signature",
            hint="write @tf.function(input_signature=[tf.TensorSpec(...)]) above it",
        )
    signature: Any = concrete  # types-tensorflow lacks the attributes
    if signature.structured_input_signature is None:
        return _flat_signature(signature, name)
    tree = signature.structured_input_signature  # (positional, by name); contains the constants bound at tracing
    leaves = keras.tree.flatten_with_path(tree)
    specs = [(path, leaf) for path, leaf in leaves if isinstance(leaf, tf.TensorSpec)]
    other = next(
        (leaf for _, leaf in leaves if isinstance(leaf, tf.TypeSpec) and not isinstance(leaf, tf.TensorSpec)), None
    )
    if other is not None:
        raise ExportError(
            f"signature {name!r} takes a {type(other).__name__}: a signature takes dense tensors only",
            hint="take the tensors that it is made of, such as values and row lengths for tf.RaggedTensor.from_row_lengths",
        )
    candidates = [naming.from_path(path[2:] if path[0] == 0 else path[1:]) or leaf.name for path, leaf in specs]
    names = naming.input_names(candidates, keep_generated=keep_generated_names)
    inputs = tuple(
        TensorSpec(name, leaf.dtype.name, None if leaf.shape.rank is None else tuple(leaf.shape.as_list()))
        for name, (_, leaf) in zip(names, specs, strict=True)
    )

    def call(*tensors: object) -> dict[str, Any]:
        remaining = iter(tensors)
        filled = [next(remaining) if isinstance(leaf, tf.TensorSpec) else leaf for _, leaf in leaves]
        arguments, keywords = keras.tree.pack_sequence_as(tree, filled)
        return outputs_by_name(function(*arguments, **keywords))

    return ExportSignature(name, inputs, call, naming.notes_on_inputs(candidates, names))


def _with_named_inputs(function: TfFunction) -> TfFunction:
    """A tf.function whose inputs are the keyword arguments of its call only.

    Other arguments keep their defaults, also those whose default is a tensor.
    """
    import tensorflow as tf

    def call(**inputs: object) -> object:
        return function(**inputs)

    return tf.function(call, autograph=False)


def _flat_signature(function: Any, name: str) -> ExportSignature:  # noqa: ANN401 - types-tensorflow lacks the attributes
    """The signature of a function of a TensorFlow 1 graph, which takes its tensors in order."""
    tensors = function.inputs[: len(function.inputs) - len(function.captured_inputs)]
    candidates = [tensor.op.name for tensor in tensors]
    names = naming.input_names(candidates, keep_generated=True)
    inputs = tuple(
        TensorSpec(name, tensor.dtype.name, None if tensor.shape.rank is None else tuple(tensor.shape.as_list()))
        for name, tensor in zip(names, tensors, strict=True)
    )

    def call(*values: object) -> dict[str, Any]:
        return outputs_by_name(function(*values))

    return ExportSignature(name, inputs, call, naming.notes_on_inputs(candidates, names))


def _traced(function: TfFunction, samples: Samples | None, name: str) -> ConcreteFunction[Any, Any] | None:
    import tensorflow as tf

    if getattr(function, "input_signature", None) is not None:
        try:
            return function.get_concrete_function()
        except Exception as error:
            raise ExportError(
                f"signature {name!r} cannot be traced: {error_text.one_line(error)}",
                hint=error_text.tracing_hint(error),
            ) from error
    if samples is None:
        return None
    specs: dict[Any, Any] = {
        key: tf.TensorSpec((None, *column.shape[1:]), dtypes.from_numpy(column.dtype).name, key)
        for key, column in samples.columns.items()
    }
    try:
        return function.get_concrete_function(specs[None]) if None in specs else function.get_concrete_function(**specs)
    except Exception as error:
        raise ExportError(
            f"signature {name!r} fails on its `samples`: {error_text.one_line(error)}",
            hint=error_text.tracing_hint(error),
        ) from error
