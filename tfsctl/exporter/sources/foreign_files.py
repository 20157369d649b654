"""Recognizes files of formats that cannot be exported, such as ONNX, with a hint how to convert each to a SavedModel.

Formats are recognized by file names and first bytes. docs/export.md has an example for each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tfsctl.errors import InvalidInput

DOCS = "docs/export.md"


@dataclass(frozen=True, slots=True)
class ForeignFormat:
    """A format that cannot be exported. A file has it if its name has one of the suffixes, or if `matches` is true.

    `description` continues the message "FILE is …". `{path}` in the hint is replaced by the file.
    """

    description: str
    hint: str
    suffixes: tuple[str, ...] = ()
    matches: Callable[[Path], bool] = lambda _path: False


def foreign_format_error(path: Path) -> InvalidInput | None:
    """The error for a file or directory of another format; None if the format is unknown."""
    for known in _FORMATS:
        if path.name.lower().endswith(known.suffixes) or known.matches(path):
            return InvalidInput(f"{path} is {known.description}", hint=known.hint.format(path=path))
    return None


def _has_file(*names: str) -> Callable[[Path], bool]:
    return lambda path: path.is_dir() and any((path / name).is_file() for name in names)


def _is_checkpoint(path: Path) -> bool:
    if path.is_dir():
        return (path / "checkpoint").is_file() or any(path.glob("*.index"))
    return path.name == "checkpoint" or ".data-0" in path.name or ".ckpt" in path.name


def _is_tensorflow_js(path: Path) -> bool:
    file = path / "model.json" if path.is_dir() else path
    return file.suffix == ".json" and b"weightsManifest" in _head(file, 1 << 22)


def _head(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(size)
    except OSError:
        return b""


def _starts_with_any(*magics: tuple[int, bytes]) -> Callable[[Path], bool]:
    return lambda path: path.is_file() and any(_head(path, at + len(magic))[at:] == magic for at, magic in magics)


_FORMATS = (
    ForeignFormat(
        "an ONNX model: TensorFlow Serving cannot load it",
        "pip install onnx2tf; onnx2tf -i {path} -o saved_model; tfsctl export saved_model --name NAME",
        (".onnx",),
    ),
    ForeignFormat(
        "a TensorFlow Lite model, which cannot be converted back",
        "export the Keras model or the SavedModel that it was converted from",
        (".tflite", ".lite"),
        _starts_with_any((4, b"TFL3")),
    ),
    ForeignFormat(
        "a file of weights without a model",
        "tfsctl export model.py --weights {path}, with a Python file that builds the model",
        (".weights.h5",),
    ),
    ForeignFormat(
        "a safetensors file: weights without a model",
        "write a Python file that builds the Keras model and assigns the weights: " + DOCS,
        (".safetensors",),
    ),
    ForeignFormat(
        "a PyTorch file: TensorFlow Serving cannot run PyTorch models",
        "convert it in Python with litert-torch or torch.onnx.export and onnx2tf: " + DOCS,
        (".pt", ".pth", ".pt2", ".ckpt.pt", ".torchscript"),
    ),
    ForeignFormat(
        "a pickle of Python objects: a model server has no Python",
        "write a Python file that computes the same with TensorFlow operations: " + DOCS,
        (".pkl", ".pickle", ".joblib"),
    ),
    ForeignFormat(
        "a TensorFlow.js model",
        "pip install tensorflowjs; tensorflowjs_converter --input_format=tfjs_layers_model "
        "--output_format=keras {path} model.h5",
        (),
        _is_tensorflow_js,
    ),
    ForeignFormat(
        "a TensorFlow checkpoint: variables without a model",
        "write a Python file that builds the model and restores the checkpoint: " + DOCS,
        (".ckpt", ".index", ".meta"),
        _is_checkpoint,
    ),
    ForeignFormat(
        "a GraphDef (a frozen graph): it does not say which tensors are inputs and outputs",
        "write a Python file that imports the graph with tf.compat.v1.wrap_function: " + DOCS,
        (".pb", ".pbtxt"),
    ),
    ForeignFormat(
        "a Core ML model: TensorFlow Serving cannot load it",
        "export the model that it was converted from",
        (".mlmodel", ".mlpackage"),
    ),
    ForeignFormat(
        "an archive",
        "unpack it, and export the SavedModel directory in it",
        (".zip", ".tar", ".tar.gz", ".tgz"),
    ),
    ForeignFormat("a notebook", "jupyter nbconvert --to script {path}, and export the Python file", (".ipynb",)),
    ForeignFormat(
        "the architecture of a Keras model without weights",
        "export a Python file with `model = keras.models.model_from_json(...)` and --weights FILE",
        (),
        lambda path: path.suffix == ".json" and b'"class_name"' in _head(path, 1 << 16),
    ),
)
