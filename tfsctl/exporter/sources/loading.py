"""Load the model a SOURCE holds, and what its file says to go with it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfsctl.errors import ExportError, InvalidInput
from tfsctl.exporter import failure, samples
from tfsctl.exporter.endpoint import Endpoint
from tfsctl.exporter.samples import Samples
from tfsctl.exporter.sources import keras_model, python_file, tf_module
from tfsctl.exporter.sources.source import Source


@contextmanager
def loaded(source: Source) -> Iterator[tuple[object, Samples | None, tuple[str, ...]]]:
    """The model of a Python or Keras file, its file's sample rows if there are any, and notes for the user.

    A Python file's siblings stay importable until the block ends. Raises ExportError or InvalidInput when there is no
    model to be had.
    """
    if source.kind == "keras":
        yield _keras_file(source.path), None, ()
        return
    with python_file.running(source.path) as module:
        model = python_file.find_model(module, source.attribute, is_model=is_model)
        offered = getattr(module, python_file.SAMPLES, None)
        if offered is None:
            yield model, None, ()
            return
        try:
            rows = samples.parse(offered)
        except InvalidInput as error:
            yield model, None, (f"`{python_file.SAMPLES}` was not used: {error.message}",)
        else:
            yield model, rows, ()


def is_model(value: object) -> bool:
    """Whether a value is something to export rather than a function that builds it."""
    import keras

    return isinstance(value, keras.Model) or tf_module.is_tf_module(value)


def endpoints_of(model: object, rows: Samples | None) -> tuple[Endpoint, ...]:
    """The signatures the model is to have. Raises ExportError for what is no model, or does not say what it takes."""
    import keras

    if isinstance(model, keras.Model):
        if keras.backend.backend() != "tensorflow":
            raise ExportError(
                f"Keras runs on {keras.backend.backend()} here: a SavedModel holds TensorFlow's operations",
                hint="set KERAS_BACKEND=tensorflow",
            )
        return (keras_model.endpoint_of(model, rows),)
    if tf_module.is_tf_module(model):
        return tf_module.endpoints_of(model)
    raise ExportError(
        f"the model is of type {type(model).__name__}, which tfsctl cannot export",
        hint="wanted: a Keras model, or a tf.Module whose attribute `signatures` maps names to tf.functions",
    )


def _keras_file(path: Path) -> object:
    import keras

    if path.suffix == ".keras" and not zipfile.is_zipfile(path):  # Keras would say that it does not exist
        raise ExportError(f"{path} is not a Keras file: a .keras file is a zip archive")
    try:
        model: object = keras.models.load_model(path, compile=False)
    except Exception as error:
        raise ExportError(
            f"{path}: {failure.one_line(error)}",
            hint="if it needs your classes, export a Python file with them and `model = keras.models.load_model(...)`",
        ) from error
    return model
