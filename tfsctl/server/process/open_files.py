"""The open files of the process: the three standard ones, scratch files, and their limit, which connections share."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_UNLIMITED = 1_000_000
_RESERVED = 256  # libraries, logs, event loops, the files of a model being loaded


def open_standard() -> None:
    """Open /dev/null in place of a closed stdin, stdout or stderr, so that no connection gets its descriptor."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - stays open


@contextmanager
def scratch_file() -> Iterator[tuple[IO[bytes], str]]:
    """A private temporary file, and a path by which this process can open it. On Linux it is in memory."""
    if sys.platform == "linux":
        with os.fdopen(os.memfd_create("tfsctl"), "w+b", buffering=0) as file:
            yield file, f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile(buffering=0) as named:
            yield named, named.name


def raise_limit() -> None:
    """Raise the limit of open files to the highest value allowed; the usual default is far lower."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def for_connections() -> int:
    """How many open files may be connections. Loading models needs some too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _UNLIMITED if soft == resource.RLIM_INFINITY else soft
    return max(files - _RESERVED, files // 2)
