"""Loads the model of a Python or Keras file, with the samples that the file defines."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfsctl.errors import ExportError, InvalidInput
from tfsctl.exporter import error_text, samples
from tfsctl.exporter.export_signature import ExportSignature
from tfsctl.exporter.samples import Samples
from tfsctl.exporter.sources import keras2, keras_model, python_file, tf_module
from tfsctl.exporter.sources.model_source import ModelSource


@contextmanager
def load_source(source: ModelSource) -> Iterator[tuple[object, Samples | None, tuple[str, ...]]]:
    """The model of a source, the samples of its file if there are any, and notes for the user.

    During the block, a Python file can import its sibling modules. Raises ExportError or InvalidInput if there is no
    model.
    """
    if source.kind == "keras":
        yield _keras_file(source.path), None, ()
        return
    with python_file.run_file(source.path) as module:
        model = python_file.find_model(module, source.attribute, is_model=is_model)
        defined = getattr(module, python_file.SAMPLES, None)
        if defined is None:
            yield model, None, ()
            return
        try:
            rows = samples.parse_samples(defined)
        except InvalidInput as error:
            yield model, None, (f"`{python_file.SAMPLES}` was not used: {error.message}",)
        else:
            yield model, rows, ()


def is_model(value: object) -> bool:
    """Whether a value is a model, and not a function that builds one."""
    import keras

    return isinstance(value, keras.Model) or tf_module.is_tf_module(value)


def signatures_of(model: object, rows: Samples | None) -> tuple[ExportSignature, ...]:
    """The signatures of a model. Raises ExportError if it is not a model, or its inputs are unknown."""
    import keras

    if isinstance(model, keras.Model):
        if keras.backend.backend() != "tensorflow":
            raise ExportError(
                f"Keras runs on {keras.backend.backend()} here: a SavedModel holds TensorFlow's operations",
                hint="set KERAS_BACKEND=tensorflow",
            )
        return (keras_model.signature_of(model, rows),)
    if keras2.is_keras2_model(model):
        return (keras_model.signature_of(model, rows),)
    if tf_module.is_tf_module(model):
        return tf_module.signatures_of(model)
    raise ExportError(
        f"the model is of type {type(model).__name__}, which tfsctl cannot export",
        hint="wanted: a Keras model, or a tf.Module whose attribute `signatures` maps names to tf.functions",
    )


def _keras_file(path: Path) -> object:
    import keras

    if path.suffix == ".keras" and not zipfile.is_zipfile(path):  # Keras would report that it does not exist
        raise ExportError(f"{path} is not a Keras file: a .keras file is a zip archive")
    try:
        model: object = keras.models.load_model(path, compile=False)
    except Exception as error:
        version = keras2.keras2_version(path)
        if version is not None:
            return keras2.load_keras2(path, version, error)
        raise ExportError(
            f"{path}: {error_text.one_line(error)}",
            hint="if it needs your classes, export a Python file with them and `model = keras.models.load_model(...)`",
        ) from error
    return model
