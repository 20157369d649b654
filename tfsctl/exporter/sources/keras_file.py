"""Loads models from Keras files. The format of a file is told by its contents, not by its name.

- A zip archive is the `.keras` format of Keras 3. HDF5 (`.h5`) holds a whole model, or weights only.
- Keras 2 wrote HDF5, and late versions of it zip archives (see `keras2`).
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.errors import ExportError, InvalidInput, NotFound
from tfsctl.exporter import error_text
from tfsctl.exporter.sources import keras2, python_file
from tfsctl.exporter.sources.export_options import ExportOptions

if TYPE_CHECKING:
    import h5py

_HDF5 = b"\x89HDF\r\n\x1a\n"


def load_keras_file(path: Path, options: ExportOptions) -> object:
    """The model in a Keras file. Raises ExportError or InvalidInput."""
    suffix = _true_suffix(path)
    if suffix == ".h5" and not _h5_has_model(path):
        raise InvalidInput(
            f"{path} holds weights without a model",
            hint=f"tfsctl export model.py --weights {path}, with a Python file that builds the model",
        )
    import keras

    with _custom_objects(options.custom_objects) as objects, _with_suffix(path, suffix) as file:
        try:
            model: object = keras.models.load_model(
                file, compile=False, custom_objects=dict(objects), safe_mode=not options.unsafe
            )
        except Exception as error:
            version = keras2.keras2_version(path)
            if version is not None:
                return keras2.load_keras2(path, file, version, error, objects, safe_mode=not options.unsafe)
            raise ExportError(
                f"{path}: {error_text.one_line(error)}", hint=keras2.load_hint(error, path, "keras")
            ) from error
    return model


def load_weights(model: object, path: Path) -> None:
    """Load a file of weights into a model. Raises ExportError, NotFound or InvalidInput."""
    if not path.is_file():
        raise NotFound(f"no such file: {path}")
    if not hasattr(model, "load_weights"):
        raise InvalidInput(f"--weights needs a Keras model, but the source defines a {type(model).__name__}")
    suffix = _true_suffix(path)
    if suffix == ".h5" and not _h5_is_legacy(path):
        suffix = ".weights.h5"
    with _with_suffix(path, suffix) as file:
        try:
            model.load_weights(str(file))
        except Exception as error:
            raise ExportError(
                f"the weights in {path} do not fit the model: {error_text.one_line(error)}",
                hint="build the model exactly as it was when its weights were saved",
            ) from error


def _true_suffix(path: Path) -> str:
    """The suffix that belongs to the contents of a Keras file. Raises ExportError if it is neither zip nor HDF5."""
    if zipfile.is_zipfile(path):
        return ".keras"
    with path.open("rb") as stream:
        if stream.read(len(_HDF5)) == _HDF5:
            return ".h5"
    raise ExportError(
        f"{path} is not a Keras file: it is neither a zip archive (.keras) nor HDF5 (.h5)",
        hint="the file may be an incomplete copy: save the model again with model.save(...)",
    )


@contextlib.contextmanager
def _with_suffix(path: Path, suffix: str) -> Iterator[Path]:
    """The file, or a symbolic link to it whose name has this suffix: Keras chooses its loader by the name."""
    if path.name.endswith(suffix) and (suffix != ".h5" or not path.name.endswith(".weights.h5")):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"model{suffix}"
        os.symlink(path.resolve(), link)
        yield link


def _h5_has_model(path: Path) -> bool:
    return _h5_attributes(path, lambda file: "model_config" in file.attrs)


def _h5_is_legacy(path: Path) -> bool:
    """Whether an HDF5 file has the layout of a whole model, or of Keras 2's weights."""
    return _h5_attributes(path, lambda file: "layer_names" in file.attrs or "model_weights" in file)


def _h5_attributes(path: Path, check: Callable[[h5py.File], bool]) -> bool:
    import h5py

    try:
        with h5py.File(path) as file:
            return bool(check(file))
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error}", hint="the file may be an incomplete copy") from error


@contextlib.contextmanager
def _custom_objects(modules: Sequence[str]) -> Iterator[Mapping[str, object]]:
    """The classes and functions of modules by name, to load a file that needs them."""
    found: dict[str, object] = {}
    with contextlib.ExitStack() as stack:
        for name in modules:
            found.update(_objects_of_module(stack, name))
        yield found


def _objects_of_module(stack: contextlib.ExitStack, name: str) -> dict[str, object]:
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise NotFound(f"--custom-objects: no such file: {name}")
        module = stack.enter_context(python_file.run_file(Path(name)))
    else:
        sys.path.insert(0, os.getcwd())
        try:
            module = importlib.import_module(name)
        except Exception as error:
            raise ExportError(
                f"--custom-objects {name}: {error_text.one_line(error)}",
                hint="give a module that Python can import from here, or a .py file",
            ) from error
        finally:
            sys.path.remove(os.getcwd())
    found = {
        key: value
        for key, value in vars(module).items()
        if not key.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value))
    }
    # A file names a function as Python does, which is "<lambda>" for `leaky = lambda x: ...`.
    return {**{value.__name__: value for value in found.values()}, **found}
