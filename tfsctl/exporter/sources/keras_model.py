"""The endpoint of a Keras model: `serving_default`, with names that do not depend on what was built before it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tfsctl.core import dtypes
from tfsctl.core.types import DEFAULT_SIGNATURE, TensorSpec
from tfsctl.errors import ExportError
from tfsctl.exporter import failure, naming
from tfsctl.exporter.endpoint import Endpoint, Tree, by_name
from tfsctl.exporter.samples import Samples

if TYPE_CHECKING:
    import keras

_NOT_TENSORS = ("training", "mask")  # arguments of a Keras layer's call that Keras fills in


def endpoint_of(model: keras.Model, samples: Samples | None) -> Endpoint:
    """The model's one endpoint.

    `samples` tells what a subclassed model takes, which the model itself does not always know. Raises ExportError when
    nobody knows, or the model fails on its samples.
    """
    import keras

    tree, invoke, notes = _call(model, samples)
    leaves = keras.tree.flatten_with_path(tree)
    # Keras 2 named the input of an unnamed first layer after it: dense_input.
    legacy = {f"{layer.name}_input" for layer in model.layers if naming.is_generated(layer.name, type(layer).__name__)}
    names = naming.input_names(
        [naming.from_path(path) or (None if leaf.name in legacy else leaf.name) for path, leaf in leaves]
    )
    inputs = tuple(
        TensorSpec(name, leaf.dtype, (None, *leaf.shape[1:])) for name, (_, leaf) in zip(names, leaves, strict=True)
    )
    layers = _output_layers(model)
    if not model.built and samples is not None:
        _build(model, invoke, keras.tree.pack_sequence_as(tree, [samples.fit(inputs)[spec.name] for spec in inputs]))

    def call(*tensors: object) -> dict[str, Any]:
        return by_name(invoke(keras.tree.pack_sequence_as(tree, list(tensors))), layers)

    return Endpoint(DEFAULT_SIGNATURE, inputs, call, notes)


def _call(model: keras.Model, samples: Samples | None) -> tuple[Tree, Callable[[Tree], Tree], tuple[str, ...]]:
    """What a Keras model takes as a tree of KerasTensors, how to call it with such a tree, and notes for the user."""
    import keras

    if hasattr(model, "output_names"):  # a functional model
        return model.input, lambda tree: model(tree, training=False), ()
    if isinstance(model, keras.Sequential) and model.built:
        return model.inputs[0], lambda tree: model(tree, training=False), ()
    known, notes = (_sampled(samples), ()) if samples is not None else _built_with(model)
    wanted, required = _tensor_arguments(model)
    arguments = [name for name in known if name in wanted]
    if len(arguments) == len(known) > 1:
        given, tree, invoke = arguments, known, lambda tree: model(**tree, training=False)
    else:  # the first argument takes all there is: one tensor, or a dict of them
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
            hint="define `samples` in its file, or call it once on data, or give it a keras.Input",
        )
    return tree, invoke, notes


def _sampled(samples: Samples) -> dict[str | None, Tree]:
    """The inputs that a source file's sample rows show, as KerasTensors; None stands for the only one."""
    import keras

    return {
        name: keras.KerasTensor((None, *column.shape[1:]), dtypes.from_numpy(column.dtype).name)
        for name, column in samples.columns.items()
    }


def _built_with(model: keras.Model) -> tuple[dict[str | None, Tree], tuple[str, ...]]:
    """The trees of inputs a subclassed model was built with, by argument of its `call`, and a note for the user."""
    import keras

    config = model.get_build_config() or {}
    shapes = config.get("shapes_dict") or ({None: config["input_shape"]} if config.get("input_shape") else {})

    def tree(shape: Tree) -> Tree:
        if isinstance(shape, Mapping):
            return {name: tree(inner) for name, inner in shape.items()}
        if all(dim is None or isinstance(dim, int) for dim in shape):
            return keras.KerasTensor((None, *shape[1:]), model.input_dtype)
        return [tree(inner) for inner in shape]

    note = f"the model does not say of what dtype its inputs are: {model.input_dtype} was assumed; `samples` would tell"
    return {name and name.removesuffix("_shape"): tree(shape) for name, shape in shapes.items()}, (note,)


def _tensor_arguments(model: keras.Model) -> tuple[list[str], list[str]]:
    """The arguments of a model's `call` that take tensors, and those of them that have no default."""
    parameters = [
        parameter
        for parameter in inspect.signature(model.call).parameters.values()
        if parameter.name not in _NOT_TENSORS
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    return [p.name for p in parameters], [p.name for p in parameters if p.default is p.empty]


def _output_layers(model: keras.Model) -> list[str | None]:
    """The name of the layer behind each output of a Keras model, None for one that Keras named itself."""
    import keras

    if hasattr(model, "output_names"):
        operations = {operation.name: operation for operation in model.operations}
        layers = [operations[name] for name in model.output_names]
    else:
        layers = model.layers[-1:] if isinstance(model, keras.Sequential) else []
    return [None if naming.is_generated(layer.name, type(layer).__name__) else layer.name for layer in layers]


def _build(model: keras.Model, invoke: Callable[[Tree], Tree], tree: Tree) -> None:
    """Build a model by calling it once."""
    try:
        invoke(tree)
    except Exception as error:
        raise ExportError(f"the model {model.name!r} fails on its `samples`: {failure.one_line(error)}") from error
