"""Loads the model of a source of any kind, with the samples that its file defines, and finds its signatures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tfsctl.core.types import DEFAULT_SIGNATURE
from tfsctl.errors import ExportError, InvalidInput
from tfsctl.exporter.export_signature import ExportSignature
from tfsctl.exporter.samples import Samples, parse_samples
from tfsctl.exporter.sources import (
    export_archive,
    keras2,
    keras_file,
    keras_model,
    python_file,
    recorded_calls,
    tf_function,
    tf_module,
)
from tfsctl.exporter.sources.model_source import ModelSource
from tfsctl.exporter.sources.servables import transformation
from tfsctl.exporter.sources.servables.building import build_servable
from tfsctl.exporter.sources.source_arguments import split_arguments

_SUPPORTED_MODELS = (
    "supported models: a Keras model or layer, a tf.Module whose attribute `signatures` maps names to tf.functions, "
    "a tf.function with an input_signature, or a dict of these"
)


@contextmanager
def load_source(source: ModelSource) -> Iterator[tuple[object, Samples | None, tuple[str, ...]]]:
    """The model of a source, the samples of its file if there are any, and notes for the user.

    During the block, a Python file can import its sibling modules. Raises ExportError or InvalidInput if there is no
    model.
    """
    if source.kind == "keras":
        yield keras_file.load_keras_file(source.path, source.options), None, ()
        return
    if source.kind in ("embeddings", "vocabulary"):
        with build_servable(source.path, source.options, source.kind) as built:
            yield built
        return
    if source.kind == "saved_model":
        yield tf_module.load_saved_model(source.path), None, ()
        return
    names = (source.attribute,) if source.attribute else (python_file.MODEL, python_file.BUILD_MODEL)
    wanted = (*names, transformation.TRANSFORM)
    code = source.path.read_text(encoding="utf-8", errors="replace")
    keywords, arguments = split_arguments(source.options.arguments, code, source.attribute or python_file.BUILD_MODEL)
    with recorded_calls.record_calls(), python_file.run_file(source.path, arguments, wanted=wanted) as module:
        _refuse_graph_mode(source.path)
        model: object = None
        if source.attribute or not any(hasattr(module, name) for name in names):
            model = transformation.find_transformation(module, source.attribute)
        if model is None:
            model = python_file.find_model(module, source.attribute, is_model=is_model, keywords=keywords)
        samples, notes = _samples(module)
        with export_archive.unpacked(model) as unpacked:
            if source.options.weights is not None:
                _load_weights(unpacked, samples, Path(source.options.weights))
            yield unpacked, samples, notes


def _refuse_graph_mode(file: Path) -> None:
    """Raise ExportError if a file has turned off eager execution, which no later call can turn on again."""
    import tensorflow as tf

    if not tf.executing_eagerly():
        raise ExportError(
            f"{file} turns off eager execution (disable_eager_execution or disable_v2_behavior), which an export needs",
            hint="write the graph with tf.compat.v1.saved_model.simple_save in that file, and export the directory",
        )


def _load_weights(model: object, samples: Samples | None, file: Path) -> None:
    """Load weights into a model. A model that was never called is built on its samples first."""
    import keras

    if isinstance(model, keras.Layer) and not model.built:
        keras_model.signature_of(model, samples)
    keras_file.load_weights(model, file)


def _samples(module: object) -> tuple[Samples | None, tuple[str, ...]]:
    defined = getattr(module, python_file.SAMPLES, None)
    if defined is None:
        return None, ()
    try:
        return parse_samples(defined), ()
    except InvalidInput as error:
        return None, (f"`{python_file.SAMPLES}` was not used: {error.message}",)


def is_model(value: object) -> bool:
    """Whether a value is a model, and not a function that builds one."""
    import keras

    if isinstance(value, Mapping):
        return bool(value) and all(isinstance(name, str) and is_model(one) for name, one in value.items())
    return (
        isinstance(value, keras.Layer)
        or keras2.is_keras2_model(value)
        or tf_module.is_tf_module(value)
        or tf_function.is_tf_function(value)
        or export_archive.is_export_archive(value)
    )


def signatures_of(model: object, samples: Samples | None) -> tuple[ExportSignature, ...]:
    """The signatures of a model. Raises ExportError if it is not a model, or its inputs are unknown."""
    import keras

    if isinstance(model, keras.Layer) and keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"Keras uses the {keras.backend.backend()} backend, but a SavedModel needs TensorFlow operations",
            hint="set KERAS_BACKEND=tensorflow",
        )
    if transformation.is_feature_space(model):
        return (tf_function.signature_of(transformation.feature_space_function(model), samples),)
    if isinstance(model, keras.Layer) or keras2.is_keras2_model(model):
        return (keras_model.signature_of(model, samples),)
    if tf_function.is_tf_function(model):
        return (tf_function.signature_of(model, samples),)
    if isinstance(model, Mapping) and is_model(model):
        return tuple(
            _only_signature(name, one, samples if name == DEFAULT_SIGNATURE else None) for name, one in model.items()
        )
    if tf_module.is_tf_module(model):
        return tf_module.signatures_of(model, samples)
    raise ExportError(
        f"the model is of type {type(model).__name__}, which tfsctl cannot export", hint=_SUPPORTED_MODELS
    )


def trackables(model: object) -> list[object]:
    """The parts of a model to save besides the variables and tables that its signatures use.

    TensorFlow would trace a Keras model again, with one input.
    """
    import keras

    if isinstance(model, keras.Layer) or keras2.is_keras2_model(model) or tf_function.is_tf_function(model):
        return []
    if isinstance(model, Mapping):
        return [one for part in model.values() for one in trackables(part)]
    return [model]


def _only_signature(name: str, model: object, samples: Samples | None) -> ExportSignature:
    """The only signature of a part of a model, under the name of the part."""
    first, *others = signatures_of(model, samples)
    if others:
        raise ExportError(f"{name!r} has several signatures: {first.name}, {', '.join(one.name for one in others)}")
    return replace(first, name=name)
