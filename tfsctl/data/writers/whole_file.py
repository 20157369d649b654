"""Writes a file completely or not at all: a report, or an example request."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from tfsctl.errors import TfsctlError


def write_whole_file(path: Path, content: bytes) -> None:
    """Write a new file, or replace the content of an existing one, which keeps its permissions.

    A symbolic link is followed, and a device or pipe is written as it is. Raises TfsctlError if that fails; an existing
    file is unchanged then, and a new one does not exist.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)
        else:
            _replace(path.resolve(), content)
    except OSError as error:
        raise TfsctlError(f"cannot write {path}: {error.strerror}") from error


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".tfsctl-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
        if path.exists():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
