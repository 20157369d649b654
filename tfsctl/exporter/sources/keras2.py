"""Keras 2 models: files that Keras 2 wrote, and models of the package tf_keras, which is Keras 2 for today's TensorFlow."""

from __future__ import annotations

import importlib.util
import json
import sys
import zipfile
from pathlib import Path

from tfsctl.errors import ExportError
from tfsctl.exporter import error_text


def is_keras2_model(value: object) -> bool:
    """Whether a value is a model of tf_keras. Does not import tf_keras."""
    tf_keras = sys.modules.get("tf_keras")
    return tf_keras is not None and isinstance(value, tf_keras.Model)


def keras2_version(path: Path) -> str | None:
    """The version of Keras 2 that wrote a .h5 or .keras file; None if another version did, or it is unknown."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                version = json.loads(archive.read("metadata.json"))["keras_version"]
        else:
            import h5py

            with h5py.File(path) as file:
                version = file.attrs["keras_version"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    text = version.decode("utf-8", "replace") if isinstance(version, bytes) else str(version)
    return text if text.startswith("2.") else None


def load_keras2(path: Path, version: str, reason: BaseException) -> object:
    """Load a file that Keras 2 wrote, with tf_keras. `reason` is why Keras 3 does not load it.

    Raises ExportError if tf_keras is not installed, or cannot load the file either.
    """
    if importlib.util.find_spec("tf_keras") is None:
        raise ExportError(
            f"{path} was written by Keras {version}, and Keras 3 cannot load it: {error_text.one_line(reason)}",
            hint="pip install tf-keras",
        ) from reason
    import tf_keras

    try:
        model: object = tf_keras.models.load_model(path, compile=False)
    except Exception as error:
        raise ExportError(
            f"{path}: {error_text.one_line(error)}",
            hint="if it needs your classes, export a Python file with them and `model = tf_keras.models.load_model(...)`",
        ) from error
    return model
