"""Describes exceptions of TensorFlow, Keras and the user's file in one line, with the line of the user's file."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

_COLOUR_CODES = re.compile(r"\x1b\[[0-9;]*m")
_MAX_HALF_CHARS = 200
# Messages of TensorFlow when a function reads the values of its tensors while it is traced.
_PYTHON_VALUES = (
    "object has no attribute 'numpy'",
    "Cannot convert a symbolic tf.Tensor",
    "numpy() is only available when eager execution is enabled",
    "Using a symbolic `tf.Tensor`",
)


class TensorFlowError(Exception):
    """An error of TensorFlow in another process. `status` is the name of a gRPC status."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


def one_line(error: BaseException) -> str:
    """The type and message of an exception on one line; the middle of a long message is cut."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    kind = type(error).__name__
    if isinstance(error, TensorFlowError):  # INVALID_ARGUMENT is InvalidArgumentError in Python
        kind = "".join(word.capitalize() for word in error.status.split("_")) + "Error"
    text = " ".join(_COLOUR_CODES.sub("", _message(error)).split())
    text = text.rpartition("Exception encountered: ")[2]  # Keras writes the whole configuration of the model before it
    # Control characters must not reach the terminal.
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    if len(text) > 2 * _MAX_HALF_CHARS:
        text = f"{text[:_MAX_HALF_CHARS].rsplit(' ', 1)[0]} … {text[-_MAX_HALF_CHARS:].split(' ', 1)[-1]} (--verbose shows all of it)"
    return f"{kind}: {text}" if text else kind


def _message(error: BaseException) -> str:
    try:
        if isinstance(error, KeyError) and error.args and "\n" in str(error.args[0]):
            return str(error.args[0])  # str() of a KeyError escapes the line breaks and colours that Keras adds
        return str(error)
    except Exception:  # noqa: BLE001 - a class of the user's may do anything here
        return ""


def hint_for(error: TensorFlowError) -> str:
    """A hint for an error while a version is loaded or run; empty if the error is unknown."""
    if error.status == "DEADLINE_EXCEEDED":
        return "--check-timeout SECONDS allows more time"
    if "an output of dtype" in str(error):
        return "return it with another dtype, for example tf.cast(x, tf.float32)"
    if "uninitialized value" in str(error):
        return "save the variable with the model, or initialize it in the model's main_op"
    unknown = re.search(r"Op type not registered '(\w+)'", str(error))
    if unknown is None:
        return ""
    if unknown[1].startswith("SimpleML"):
        return "pip install ydf-tf: it has the operations of decision forests (TF-DF, YDF)"
    return f"install the Python package that defines {unknown[1]}, for example: pip install tensorflow-text"


def tracing_hint(error: BaseException) -> str:
    """A hint for an error while a function is traced; empty if the error is unknown."""
    text = _message(error)
    if "must return zero or more Tensors" in text or "'<' not supported between" in text:
        return "return a tensor, or a dict of tensors whose keys are texts"
    if any(words in text for words in _PYTHON_VALUES):
        return "compute with TensorFlow or keras.ops operations only: in the graph of a server, tensors have no values in Python"
    return ""


def source_location(error: BaseException, file: Path) -> str:
    """`file:line` in the user's code where an exception was raised: the innermost frame in `file` or its folder."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename}:{error.lineno}"
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == file.parent
    ]
    if not frames:
        return str(file)
    return f"{frames[-1].filename}:{frames[-1].lineno}"
