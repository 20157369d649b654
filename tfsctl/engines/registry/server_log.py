"""The log of a server: the log that Docker keeps of a container, or the log file of a process."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TextIO

from tfsctl.diagnosis.explanations import explain
from tfsctl.engines import state_dir
from tfsctl.engines.docker import daemon as docker_daemon
from tfsctl.engines.engine import LOG_TAIL_LINES
from tfsctl.engines.exit_reasons import REASONS
from tfsctl.engines.registry.tracked_server import TrackedServer
from tfsctl.errors import DockerError, NotFound
from tfsctl.programs import processes, subprocesses

POLL_S = 0.1


def lines(server: TrackedServer, *, tail: int | None, follow: bool, programs: ExitStack | None = None) -> Iterator[str]:
    """The last `tail` lines of the log (None: all), and with `follow` new lines until the server ends.

    The program that reads the log of a container is stopped when the iterator is closed, or with the ExitStack
    `programs`, which may belong to another thread.

    Raises NotFound if the log was removed, DockerError if Docker fails.
    """
    record = server.record
    if record.container is not None:
        docker_daemon.find()
        return _container_log(record.container, tail, programs or ExitStack(), follow=follow)
    path = Path(record.log_path or state_dir.log_file(record.name))
    if path.is_symlink() or not path.is_file():
        raise NotFound(f"the log of {record.name} is not there any more: {path}")
    return _file_log(path, tail, written_by=record.pid if follow else None)


def last_run(name: str, *, tail: int | None) -> Iterator[str] | None:
    """The last lines of the log of a process server that has no record any more; None if there is no log."""
    file = state_dir.log_file(name)
    return _file_log(file, tail, written_by=None) if file.is_file() and not file.is_symlink() else None


def exit_cause(server: TrackedServer) -> str:
    """Why a server ended: from Docker, from the signal, or from a known error in its log. Empty if nothing tells."""
    if server.facts is not None and server.facts.exit_reason:
        return server.facts.exit_reason
    if server.exit is not None and -server.exit.status in REASONS:
        return REASONS[signal.Signals(-server.exit.status)]
    try:
        known = explain("\n".join(lines(server, tail=LOG_TAIL_LINES, follow=False)))
    except (NotFound, DockerError, OSError):
        return ""
    return known.cause if known else ""


def _container_log(container: str, tail: int | None, programs: ExitStack, *, follow: bool) -> Iterator[str]:
    options = [] if tail is None else ["--tail", str(tail)]
    with closing(_LogProgram(["docker", "logs", *options, *(["--follow"] if follow else []), container])) as program:
        programs.callback(program.stop)
        yield from program.lines()
        status = program.wait()
        if status != 0:
            raise DockerError(f"docker logs failed with status {status}; its own words are above")


class _LogProgram(subprocesses.StreamingProgram):
    """A program that is stopped when its reader stops reading."""

    def close(self) -> None:
        """Stop the program."""
        self.stop()


def _file_log(path: Path, tail: int | None, *, written_by: int | None) -> Iterator[str]:
    """The lines of a file, and new lines while the process `written_by` runs."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise NotFound(f"cannot read the log {path}: {error.strerror}") from error
    with open(descriptor, encoding="utf-8", errors="replace", newline="\n") as log:
        if tail is not None:
            yield from (line.rstrip("\n") for line in deque(log, maxlen=tail))
        identity = None if written_by is None else processes.process_identity(written_by)
        partial = ""
        while True:
            # Checked before reading, so that what was written before the end is still read.
            alive = (
                identity is not None and written_by is not None and processes.process_identity(written_by) == identity
            )
            *complete, partial = (partial + _read_new(log)).split("\n")
            yield from complete
            if not alive:
                break
            time.sleep(POLL_S)
        if partial:
            yield partial


def _read_new(log: TextIO) -> str:
    """What was added since the last read; all of the file if it was truncated."""
    if os.fstat(log.fileno()).st_size < os.lseek(log.fileno(), 0, os.SEEK_CUR):
        log.seek(0)
    return log.read()
