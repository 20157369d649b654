"""Other people's exceptions in one line: what was raised, and where in the user's own file."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;]*m")
_HALF = 200


def one_line(error: BaseException) -> str:
    """The exception's type and message on one line. Of a long one (Keras writes pages) the beginning and the end."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    text = " ".join(_TERMINAL_CODES.sub("", str(error)).split())
    text = text.rpartition("Exception encountered: ")[2]  # Keras puts all of the model's configuration before it
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)  # it must not drive the terminal
    if len(text) > 2 * _HALF:
        text = f"{text[:_HALF].rsplit(' ', 1)[0]} … {text[-_HALF:].split(' ', 1)[-1]} (--verbose shows all of it)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def place(error: BaseException, file: Path) -> str:
    """Where in the user's code an exception arose, as `file:line`: the innermost frame in `file` or its folder."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename}:{error.lineno}"
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == file.parent
    ]
    if not frames:
        return str(file)
    return f"{frames[-1].filename}:{frames[-1].lineno}"
