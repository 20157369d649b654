"""Configuration files in protobuf's text form, read and refused as TensorFlow Serving does (ParseProtoTextFile)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tfsctl.errors import InvalidInput
from tfsctl.server.status import Code, ServingError, invalid_argument
from tfsctl.serving_config.messages import parse_text

if TYPE_CHECKING:
    from google.protobuf.message import Message


MessageT = TypeVar("MessageT", bound="Message")
log = logging.getLogger(__name__)


def read_config_file(path: str | Path, message: MessageT) -> MessageT:
    """Fill `message` from a file and return it. Raises NOT_FOUND or INVALID_ARGUMENT in the real server's words.

    What is wrong inside the file goes to the log, as there.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise ServingError(Code.NOT_FOUND, f"{path}; {error.strerror}") from error
    if not raw:
        raise invalid_argument(f"{path}; Invalid argument")  # the real server maps files into memory: none can be empty
    try:
        return parse_text(message, raw.decode(), source=str(path))
    except (InvalidInput, UnicodeDecodeError) as error:
        log.error("%s", error)  # noqa: TRY400 - a file's fault, not a traceback
        raise invalid_argument(f"Invalid protobuf file: '{path}'") from error
