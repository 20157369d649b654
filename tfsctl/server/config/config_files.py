"""Reads configuration files in protobuf's text form, with TensorFlow Serving's errors (ParseProtoTextFile)."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tfsctl.server.status import Code, ServingError, invalid_argument

if TYPE_CHECKING:
    from google.protobuf.message import Message


MessageT = TypeVar("MessageT", bound="Message")
_BYTE_ORDER_MARK = "\ufeff"
_MAX_GROWTH_BYTES = 1024 * 1024  # of a file that is rewritten between two system calls
log = logging.getLogger(__name__)


def read_config_file(path: str | Path, message: MessageT) -> MessageT:
    """Parse a file into `message` and return it. Raises NOT_FOUND or INVALID_ARGUMENT in TensorFlow Serving's words.

    The log says what is wrong inside the file, as the real server's does.
    """
    from google.protobuf import struct_pb2, text_format  # noqa: F401 - an Any of the text may hold a Struct

    try:
        raw = _read_at_once(Path(path))
    except OSError as error:
        raise ServingError(Code.NOT_FOUND, f"{path}; {error.strerror}") from error
    if not raw:
        raise invalid_argument(f"{path}; Invalid argument")  # the real server cannot map an empty file
    try:
        return text_format.Parse(raw.decode(), message)
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode()
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        reason = f"{line}:{column}: this is not UTF-8"
    except text_format.ParseError as error:
        _, _, text = str(error).partition(" : ")
        reason = f"{error.GetLine() or 1}:{error.GetColumn() or 1}: {text or error}{_hint(raw.decode())}"
    except RecursionError:  # an Any of the text may hold messages of any depth
        reason = "1:1: its messages are nested too deep"
    log.error("Error parsing text-format %s: %s (%s)", message.DESCRIPTOR.full_name, _visible(reason), path)
    raise invalid_argument(f"Invalid protobuf file: '{path}'")


def _read_at_once(path: Path) -> bytes:
    """The content of a file, read by one system call, as TensorFlow maps it at once.

    Of a file that is rewritten in place meanwhile, a second call could read the end of the new content after the
    beginning of the old one. A pipe is read to its end.
    """
    with path.open("rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return file.read()
        return os.read(file.fileno(), status.st_size + _MAX_GROWTH_BYTES)


def _hint(text: str) -> str:
    """A remark if the file begins with a byte order mark or is JSON."""
    if text.startswith(_BYTE_ORDER_MARK):
        return "; the file begins with a byte order mark: save it as UTF-8 without BOM"
    if text.lstrip().startswith("{"):
        return "; this is JSON: the file must be a text protobuf"
    return ""


def _visible(text: str) -> str:
    return text.replace(_BYTE_ORDER_MARK, "\\ufeff")
