"""The signature of a Keras 3 or tf_keras model or layer, `serving_default`, with stable names.

The batch dimension is fixed if the model declares it: `keras.Input(batch_size=2)`, or a stateful layer. A model that was
only called on two rows, or trained in batches of 32, takes any number of rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from tfsctl.core import dtypes
from tfsctl.core.types import DEFAULT_SIGNATURE, TensorSpec
from tfsctl.errors import ExportError
from tfsctl.exporter import error_text, naming
from tfsctl.exporter.export_signature import ExportSignature, Tree, outputs_by_name
from tfsctl.exporter.samples import Samples
from tfsctl.exporter.sources import recorded_calls

if TYPE_CHECKING:
    import keras

_NOT_TENSORS = ("training", "mask")  # arguments of `call` that Keras sets


def signature_of(model: keras.Model, samples: Samples | None) -> ExportSignature:
    """The only signature of a model.

    `samples` show the inputs of a subclassed model, which does not always declare them. Raises ExportError if the inputs
    are unknown, or the model fails on its samples.
    """
    import keras
    import tensorflow as tf

    tree, invoke, notes = _inputs_and_call(model, samples)
    leaves = keras.tree.flatten_with_path(tree)
    # Keras 2 named an unnamed input after the first layer: dense_input.
    legacy = {
        f"{layer.name}_input" for layer in _layers(model) if naming.is_generated(layer.name, type(layer).__name__)
    }
    candidates = [naming.from_path(path) or (None if leaf.name in legacy else leaf.name) for path, leaf in leaves]
    names = naming.input_names(candidates)
    inputs = tuple(
        TensorSpec(name, tf.as_dtype(leaf.dtype).name, tuple(leaf.shape))
        for name, (_, leaf) in zip(names, leaves, strict=True)
    )
    notes += naming.notes_on_inputs(candidates, names)
    layers = _output_layers(model)
    _make_names_valid(model)
    if not model.built and samples is not None:
        _build(model, invoke, keras.tree.pack_sequence_as(tree, [samples.fit(inputs)[spec.name] for spec in inputs]))

    def call(*tensors: object) -> dict[str, Any]:
        return outputs_by_name(invoke(keras.tree.pack_sequence_as(tree, list(tensors))), layers)

    return ExportSignature(DEFAULT_SIGNATURE, inputs, call, notes)


def _inputs_and_call(
    model: keras.Model, samples: Samples | None
) -> tuple[Tree, Callable[[Tree], Tree], tuple[str, ...]]:
    """The inputs of a model as a tree of KerasTensors, a function that calls it with such a tree, and notes."""
    import keras

    if _is_functional(model):
        return model.input, lambda tree: model(tree, training=False), ()
    if isinstance(model, keras.Sequential) and model.built:
        (tensor,) = model.inputs
        return tensor if _declares_batch(model) else _free_batch(tensor), lambda tree: model(tree, training=False), ()
    recorded = recorded_calls.recorded_inputs(model)
    known: Mapping[Any, Tree]
    notes: tuple[str, ...] = ()
    if samples is not None:
        known = _sampled(samples)
    elif recorded:
        known = recorded
    else:
        known, notes = _built_with(model)
    wanted, required = _tensor_arguments(model)
    given: Collection[str | None]
    variadic = _name_of(model, inspect.Parameter.VAR_POSITIONAL)
    if samples is None and variadic is not None and variadic in known:
        given, tree, invoke = list(known), known, lambda tree: _call_with(model, str(variadic), tree)
    elif not wanted and variadic is not None and None not in known:
        # `call(self, *inputs)` takes the columns of `samples` in their order
        given, tree, invoke = list(known), known, lambda tree: model(*tree.values(), training=False)
    elif len(known) > 1 and (set(known) <= set(wanted) or _takes_keywords(model, required, known)):
        given, tree, invoke = list(known), known, lambda tree: model(**tree, training=False)
    else:  # the first argument takes all inputs: one tensor, or a dict of tensors
        given, tree, invoke = wanted[:1], known, lambda tree: model(tree, training=False)
        if list(known) in ([None], wanted[:1]):
            (tree,) = known.values()
        if isinstance(tree, keras.KerasTensor):
            tree = keras.KerasTensor(tree.shape, tree.dtype, name=next(iter(wanted), None))
    missing = [name for name in required if name not in given]
    if missing or not known:
        what = f"the shape of {', '.join(missing)} is not known" if known else "it was never built"
        raise ExportError(
            f"the model {model.name!r} cannot be traced: {what}",
            hint=_hint_for((missing if known else required) or wanted),
        )
    return tree, invoke, notes


def _is_functional(model: keras.Model) -> bool:
    """Whether a model declares its inputs and outputs. In tf_keras, every model has `output_names`."""
    is_functional: bool = getattr(model, "_is_graph_network", hasattr(model, "output_names"))
    return is_functional


def _declares_batch(model: keras.Sequential) -> bool:
    """Whether a built Sequential model declares its batch size.

    Keras adds an input layer for the first data it sees. That layer has a generated name, and the dtype of the data.
    """
    first = getattr(model, "_layers", model.layers)[0]  # `layers` does not contain the input layer
    declared = getattr(getattr(first, "_auto_config", None), "config", {})
    explicit = declared.get("dtype", "") is None or not naming.is_generated(first.name, "InputLayer")
    return explicit or any(getattr(layer, "stateful", False) for layer in model.layers)


def _free_batch(tensor: keras.KerasTensor) -> keras.KerasTensor:
    import keras

    return keras.KerasTensor((None, *tensor.shape[1:]), tensor.dtype, name=tensor.name)


def _layers(model: keras.Layer) -> list[keras.Layer]:
    """The layers of a model; a layer itself if it is not a model."""
    layers: list[keras.Layer] = getattr(model, "layers", [model])
    return layers


def _hint_for(arguments: list[str]) -> str:
    """The hint for a model whose inputs are unknown: lines to add to its file."""
    rows = ", ".join(f'"{name}": [...]' for name in arguments) or "..."
    return f"define `samples = {{{rows}}}` in its file: rows of each input, or call the model once on data there"


def _sampled(samples: Samples) -> dict[str | None, Tree]:
    """The inputs that the samples show, as KerasTensors by name. The name None means the only input."""
    import keras

    return {
        name: keras.KerasTensor((None, *column.shape[1:]), dtypes.from_numpy(column.dtype).name)
        for name, column in samples.columns.items()
    }


def _built_with(model: keras.Model) -> tuple[dict[str | None, Tree], tuple[str, ...]]:
    """The inputs a subclassed model was built with, by argument of its `call`, and notes."""
    import keras

    dtype = getattr(model, "input_dtype", "float32")  # tf_keras has none
    config = model.get_build_config() or {}
    shapes = config.get("shapes_dict") or ({None: config["input_shape"]} if config.get("input_shape") else {})

    def tree(shape: Tree) -> Tree:
        if isinstance(shape, Mapping):
            return {name: tree(inner) for name, inner in shape.items()}
        if all(dim is None or isinstance(dim, int) for dim in shape):
            return keras.KerasTensor((None, *shape[1:]), dtype)
        return [tree(inner) for inner in shape]

    note = f"the model does not declare the dtype of its inputs: {dtype} is assumed; define `samples` to set it"
    return {name and name.removesuffix("_shape"): tree(shape) for name, shape in shapes.items()}, (note,)


def _tensor_arguments(model: keras.Model) -> tuple[list[str], list[str]]:
    """The arguments of `call` that take tensors, and those of them without a default."""
    parameters = [
        parameter
        for parameter in inspect.signature(model.call).parameters.values()
        if parameter.name not in _NOT_TENSORS
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    return [p.name for p in parameters], [p.name for p in parameters if p.default is p.empty]


def _name_of(model: keras.Model, kind: object) -> str | None:
    """The name of the parameter of `call` of a kind, such as `inputs` in `call(self, *inputs)`; None if it has none."""
    return next((p.name for p in inspect.signature(model.call).parameters.values() if p.kind is kind), None)


def _takes_keywords(model: keras.Model, required: list[str], known: Mapping[Any, Tree]) -> bool:
    """Whether known inputs are arguments of a `call` with `**keywords`, and not one dict for its first argument."""
    return _name_of(model, inspect.Parameter.VAR_KEYWORD) is not None and set(required) <= set(known)


def _call_with(model: keras.Model, variadic: str, arguments: Mapping[str, Tree]) -> Tree:
    """Call a model with its arguments by name. Those before `*variadic` have to be positional."""
    parameters = list(inspect.signature(model.call).parameters)
    before = [name for name in parameters[: parameters.index(variadic)] if name in arguments]
    keywords = {name: value for name, value in arguments.items() if name not in (*before, variadic)}
    return model(*(arguments[name] for name in before), *arguments[variadic], **keywords, training=False)


def _output_layers(model: keras.Model) -> list[str | None]:
    """The name of the layer of each output; None if Keras generated it."""
    import keras

    if _is_functional(model):
        nodes = getattr(model, "operations", model.layers)  # Keras 2 names outputs by layers only
        operations = {operation.name: operation for operation in nodes}
        layers = [operations[name] for name in model.output_names]
    elif isinstance(model, keras.Sequential):
        layers = model.layers[-1:]
    else:
        layers = [] if hasattr(model, "layers") else [model]
    return [None if naming.is_generated(layer.name, type(layer).__name__) else layer.name for layer in layers]


def _make_names_valid(model: keras.Layer) -> None:
    """Rename layers whose names cannot be scopes of a graph, such as `Sea view`. Eagerly, Keras accepts any name."""
    import keras

    if isinstance(model, keras.Layer):
        for layer in model._flatten_layers():  # noqa: SLF001 - Keras has no public way to all layers
            layer.name = naming.scope_name(layer.name)


def _build(model: keras.Model, invoke: Callable[[Tree], Tree], tree: Tree) -> None:
    """Build a model by calling it once on its samples."""
    try:
        invoke(tree)
    except Exception as error:
        raise ExportError(
            f"the model {model.name!r} fails on its `samples`: {error_text.one_line(error)}",
            hint=error_text.tracing_hint(error),
        ) from error
