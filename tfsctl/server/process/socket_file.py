"""The file of a UNIX socket that this process listens on, removed at its end unless another process has replaced it."""

from __future__ import annotations

import os
from contextlib import suppress


class SocketFile:
    """The file at a path; "" for no socket."""

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path) if path else ""
        self._identity: tuple[int, int] | None = None

    def remember(self) -> None:
        """Remember the file that exists now as ours. Call it when the socket is bound."""
        if self._path:
            self._identity = _identity(self._path)

    def remove(self) -> None:
        """Remove the file if it is still ours."""
        if self._identity is not None and _identity(self._path) == self._identity:
            with suppress(OSError):
                os.unlink(self._path)


def _identity(path: str) -> tuple[int, int] | None:
    """Device and inode of a file, None if there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
