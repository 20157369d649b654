"""Rewrite the model config file of a server that may read it at any time."""

from __future__ import annotations

import os
from pathlib import Path

from tfsctl.errors import RolloutError


def write_in_place(path: Path, text: str) -> None:
    """Replace the content of a file, and keep the file itself.

    A container that mounts a single file would not see another one renamed over it. A server that polls the file sees
    the old content or the new one, followed by empty lines for a moment: the content is written by one call, and before
    and after it only empty lines change. Raises RolloutError if the file cannot be written.
    """
    content = text.encode()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            if size < len(content):
                os.pwrite(descriptor, b"\n" * (len(content) - size), size)
            os.pwrite(descriptor, content.ljust(size, b"\n"), 0)
            os.ftruncate(descriptor, len(content))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RolloutError(f"cannot write {path}: {error.strerror}") from error
