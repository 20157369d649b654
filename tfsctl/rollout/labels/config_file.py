"""Rewrite the model config file of a server that may read it at any time, and that may be mounted into a container."""

from __future__ import annotations

import os
from pathlib import Path

from tfsctl.errors import RolloutError

_INVALID = b"}"  # before or after a text proto, an unmatched brace makes it invalid


def write_in_place(path: Path, text: str) -> None:
    """Replace the content of a file, and keep the file itself: a container that mounts it sees the new content.

    A container would not see a rename. During the change, the file begins and ends with an unmatched brace. So a server
    that polls it reads the old content, the new content, or an error, after which it keeps its configuration and reads
    the file again. Raises RolloutError if the file cannot be written.
    """
    content = text.encode()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, _INVALID, 0)
            os.pwrite(descriptor, content[1:] + _INVALID, 1)
            os.ftruncate(descriptor, len(content) + 1)
            os.pwrite(descriptor, content[:1], 0)
            os.ftruncate(descriptor, len(content))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RolloutError(f"cannot write {path}: {error.strerror}") from error
