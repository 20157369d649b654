"""What a server has written: the log Docker keeps of a container, or the file of a process, also after its end."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TextIO

from tfsctl.engines.docker import daemon as docker_daemon
from tfsctl.engines.registry import state_dir
from tfsctl.engines.registry.discovery import Marked
from tfsctl.errors import DockerError, NotFound
from tfsctl.programs import processes, subprocesses

LOOK_S = 0.1  # how often a file is looked at


def lines(each: Marked, *, tail: int | None, follow: bool) -> Iterator[str]:
    """Its last `tail` lines (None: all), and with `follow` those to come until it ends.

    Raises NotFound for a log that was removed, DockerError where docker cannot be asked.
    """
    server = each.server
    if server.container is not None:
        docker_daemon.find()
        return _of_container(server.container, tail, follow=follow)
    path = Path(server.log_path or state_dir.log_file(server.name))
    if not path.is_file():
        raise NotFound(f"the log of {server.name} is not there any more: {path}")
    return _of_file(path, tail, written_by=server.pid if follow else None)


def lines_of_ended(name: str, *, tail: int | None) -> Iterator[str] | None:
    """The last lines of the log that a process of this name left; None if there is none."""
    file = state_dir.log_file(name)
    return _of_file(file, tail, written_by=None) if file.is_file() else None


def _of_container(container: str, tail: int | None, *, follow: bool) -> Iterator[str]:
    last = [] if tail is None else ["--tail", str(tail)]
    with closing(_Stopping(["docker", "logs", *last, *(["--follow"] if follow else []), container])) as program:
        yield from program.lines()
        status = program.wait()
        if status != 0:
            raise DockerError(f"docker logs failed with status {status}; its own words are above")


class _Stopping(subprocesses.Printing):
    """A program that is ended when its reader has had enough."""

    def close(self) -> None:
        """End it."""
        self.stop()


def _of_file(path: Path, tail: int | None, *, written_by: int | None) -> Iterator[str]:
    """The lines of a file, and those to come while the process `written_by` is what it was."""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as log:
        if tail is not None:
            yield from (line.rstrip("\n") for line in deque(log, maxlen=tail))
        same = None if written_by is None else processes.born(written_by)
        begun = ""
        while True:
            # Asked before reading: what was written before the end is still shown.
            lives = same is not None and written_by is not None and processes.born(written_by) == same
            *whole, begun = (begun + _read(log)).split("\n")
            yield from whole
            if not lives:
                break
            time.sleep(LOOK_S)
        if begun:
            yield begun


def _read(log: TextIO) -> str:
    """What was added since the last look; all of it if the file was begun anew."""
    if os.fstat(log.fileno()).st_size < os.lseek(log.fileno(), 0, os.SEEK_CUR):
        log.seek(0)
    return log.read()
