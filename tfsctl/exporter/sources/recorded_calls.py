"""Records the inputs that Keras models and layers are called on while a user's file runs.

Keras itself remembers the shape of the first argument of `call` only, and no dtypes.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

Inputs = Mapping[str, Any]
"""By argument of `call`: a KerasTensor, or nested dicts and lists of them. The batch dimension is free."""

_recorded: WeakKeyDictionary[Any, Inputs] = WeakKeyDictionary()


@contextlib.contextmanager
def record_calls() -> Iterator[None]:
    """During the block, record the inputs of the last call of each Keras 3 layer and model."""
    import keras

    original = keras.Layer.__call__

    @functools.wraps(original)
    def call(layer: keras.Layer, *args: object, **kwargs: object) -> object:
        answer = original(layer, *args, **kwargs)
        with contextlib.suppress(Exception):  # a class of the user's may do anything here
            _recorded[layer] = _inputs(layer, args, kwargs)
        return answer

    keras.Layer.__call__ = call
    try:
        yield
    finally:
        keras.Layer.__call__ = original


def recorded_inputs(layer: object) -> Inputs | None:
    """The inputs of the last recorded call of a layer or model; None if there was none.

    A tf_keras model keeps those of its first call itself.
    """
    spec = layer.save_spec() if hasattr(layer, "save_spec") else None
    if spec is not None:
        return _inputs(layer, *spec)
    try:
        return _recorded.get(layer)
    except TypeError:  # not hashable
        return None


def _inputs(layer: Any, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Inputs:  # noqa: ANN401 - a layer
    import keras

    signature = inspect.signature(layer.call)
    arguments = signature.bind(*args, **{k: v for k, v in kwargs.items() if k != "training"}).arguments
    keywords = next((name for name, p in signature.parameters.items() if p.kind is p.VAR_KEYWORD), "")
    arguments.update(arguments.pop(keywords, {}))  # those of `**keywords` have names of their own
    kept = {}
    for name, value in arguments.items():
        leaves = keras.tree.flatten(value)
        if leaves and all(hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves):
            kept[name] = keras.tree.map_structure(lambda leaf: _spec(leaf, layer), value)
    return kept


def _spec(leaf: Any, layer: Any) -> object:  # noqa: ANN401 - an array or tensor, and a layer
    import keras

    dtype = keras.backend.standardize_dtype(leaf.dtype) if leaf.dtype != object else "string"
    if "float" in dtype:  # Keras converts floating-point inputs to the layer's own type
        dtype = getattr(layer, "input_dtype", dtype)  # tf_keras has none
    return keras.KerasTensor((None, *tuple(leaf.shape)[1:]), dtype)
