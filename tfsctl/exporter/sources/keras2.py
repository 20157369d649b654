"""Keras 2 models: files that Keras 2 wrote, and models of the package tf_keras, which is Keras 2 for today's TensorFlow."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import zipfile
from collections.abc import Mapping
from importlib.metadata import version as package_version
from pathlib import Path

from tfsctl.errors import ExportError
from tfsctl.exporter import error_text

_LAMBDA_HINT = "tfsctl export {path} --custom-objects FILE.py, where FILE.py has `f = lambda x: ...` with that function"


def is_keras2_model(value: object) -> bool:
    """Whether a value is a model of tf_keras. Does not import tf_keras."""
    tf_keras = sys.modules.get("tf_keras")
    return tf_keras is not None and isinstance(value, tf_keras.Model)


def keras2_version(path: Path) -> str | None:
    """The version of Keras 2 that wrote a .h5 or .keras file; None if another version did, or it is unknown."""
    version = file_version(path)
    return version if version is not None and version.startswith("2.") else None


def file_version(path: Path) -> str | None:
    """The version of Keras that wrote a .h5 or .keras file; None if it is unknown."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                version = json.loads(archive.read("metadata.json"))["keras_version"]
        else:
            import h5py

            with h5py.File(path) as file:
                version = file.attrs["keras_version"]
    except (OSError, RecursionError, ValueError, KeyError, TypeError):
        return None
    text = version.decode("utf-8", "replace") if isinstance(version, bytes) else str(version)
    return text if re.fullmatch(r"[\w.+-]{1,40}", text) else None


def load_keras2(
    path: Path, file: Path, version: str, reason: BaseException, objects: Mapping[str, object], *, safe_mode: bool
) -> object:
    """Load a file that Keras 2 wrote, with tf_keras.

    `file` is `path` under a name that fits its format, `reason` is why Keras 3 does not load it, `objects` are classes
    by name. Raises ExportError if tf_keras is not installed, or cannot load the file either.
    """
    if importlib.util.find_spec("tf_keras") is None:
        release = ".".join(package_version("tensorflow").split(".")[:2])  # tf-keras 2.21 is for TensorFlow 2.21
        raise ExportError(
            f"{path} was written by Keras {version}, and Keras 3 cannot load it: {error_text.one_line(reason)}",
            hint=f"pip install tf-keras~={release}.0",
        ) from reason
    import tf_keras

    class GRU(tf_keras.layers.GRU):  # type: ignore[misc]  # tf_keras has no types
        """Keras before 2.1.5 had no option `reset_after`, which is True by default today."""

        @classmethod
        def from_config(cls, config: dict[str, object]) -> object:
            return super().from_config({"reset_after": False, **config})

    try:
        model: object = tf_keras.models.load_model(
            file, compile=False, custom_objects={"GRU": GRU, **objects}, safe_mode=safe_mode
        )
    except Exception as error:
        raise ExportError(f"{path}: {error_text.one_line(error)}", hint=load_hint(error, path, "tf_keras")) from error
    return model


def load_hint(error: BaseException, path: Path, package: str) -> str:
    """The hint for a Keras file that `package` (keras or tf_keras) cannot load."""
    text = str(error)
    if "safe_mode" in text or "unsafe_deserialization" in text:
        return (
            "the file contains Python code (a Lambda layer), which runs when it is loaded: add --unsafe if you trust it"
        )
    if "<lambda>" in text:
        return _LAMBDA_HINT.format(path=path)
    if "Could not locate" in text or "Unknown layer" in text or "custom" in text:
        return f"tfsctl export {path} --custom-objects FILE.py, with the file or module that defines the class"
    version, installed = file_version(path), package_version(package.replace("_", "-"))
    if version in (None, installed):
        return "the file may be incomplete: save the model again with model.save(...)"
    return f"save the model again with Keras {installed}: Keras {version} wrote the file"
