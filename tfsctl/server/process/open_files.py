"""The files a process has open: the standard three, and how many there may be; connections count among them."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_MANY = 1_000_000
_OTHERS = 256  # libraries, logs, event loops, the files of a model being loaded


def open_standard() -> None:
    """Put /dev/null where stdin, stdout or stderr is closed; else a connection would come to stand there, and be written to."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - until the process ends


@contextmanager
def scratch_file() -> Iterator[tuple[IO[bytes], str]]:
    """A file nobody else can open, and a path for this process to open it by. On Linux it needs no disk."""
    if sys.platform == "linux":
        with os.fdopen(os.memfd_create("tfsctl"), "w+b", buffering=0) as file:
            yield file, f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile(buffering=0) as named:
            yield named, named.name


def raise_limit() -> None:
    """Let the process have as many as the system allows it; the usual default is far less."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def for_connections() -> int:
    """How many of them may be connections: what loads a model needs some too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _MANY if soft == resource.RLIM_INFINITY else soft
    return max(files - _OTHERS, files // 2)
