"""The log of a server: the log that Docker keeps of a container, or the log file of a process."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from tfsctl.engines import state_dir
from tfsctl.engines.engine import LOG_TAIL_LINES
from tfsctl.engines.exit_reasons import REASONS
from tfsctl.engines.registry.tracked_server import GONE, TrackedServer
from tfsctl.errors import DockerError, NotFound, TfsctlError
from tfsctl.programs import processes, subprocesses

POLL_S = 0.1
# The time at which a line of TensorFlow Serving or of the embedded server begins, in local time.
_LINE_TIME = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:[.,](\d+))?")
_LOAD_FAILED = re.compile(r"Loading servable: \{name: (\S+) version: (\d+)\} failed: (.*)")


@dataclass(frozen=True, slots=True)
class LogSelection:
    """Which lines of a log are read.

    - `tail`: only the last lines of what is there (None: all)
    - `follow`: also new lines, until the server ends
    - `since`: only lines from this Unix time on
    - `timestamps`: begin each line with its time in UTC
    """

    tail: int | None = None
    follow: bool = False
    since: float | None = None
    timestamps: bool = False


def lines(server: TrackedServer, selection: LogSelection, *, programs: ExitStack | None = None) -> Iterator[str]:
    """The selected lines of the log of a server.

    Docker knows the time of each line of a container. The time of a line of a process is the one it begins with, or
    that of the line before. The program that reads the log of a container is stopped when the iterator is closed, or
    with the ExitStack `programs`, which may belong to another thread.

    Raises NotFound if the log was removed, DockerError if Docker fails.
    """
    record = server.record
    if server.state == GONE:
        raise NotFound(
            f"the container of {record.name} was removed outside tfsctl, together with its log",
            hint=f"tfsctl restart {record.name}",
        )
    if record.container is not None:
        from tfsctl.engines.docker import daemon  # most servers are processes, which do not need it

        daemon.find()
        return _container_log(record.container, selection, programs or ExitStack())
    path = Path(record.log_path or state_dir.log_file(record.name))
    if path.is_symlink() or not path.is_file():
        raise NotFound(f"the log of {record.name} no longer exists: {path}")
    return _file_log(path, selection, written_by=record.pid if selection.follow else None)


def unrecorded_log(name: str, selection: LogSelection) -> Iterator[str] | None:
    """The log of a process server that has no record any more; None if there is no log."""
    file = state_dir.log_file(name)
    return _file_log(file, selection, written_by=None) if file.is_file() and not file.is_symlink() else None


def load_failures(log: Iterable[str]) -> dict[tuple[str, int], str]:
    """By model and version, why the server could not load it the last time, from the lines of its log."""
    found = filter(None, map(_LOAD_FAILED.search, log))
    return {(match[1], int(match[2])): match[3] for match in found}


def recent_load_failures(server: TrackedServer) -> dict[tuple[str, int], str]:
    """The result of `load_failures` for the end of the log of a server. Empty if the log cannot be read."""
    try:
        if server.record.container is not None:
            argv = ["docker", "logs", "--tail", str(LOG_TAIL_LINES), server.record.container]
            log = subprocesses.run(argv, timeout_s=10)
            return load_failures([*log.stdout.splitlines(), *log.stderr.splitlines()])
        return load_failures(lines(server, LogSelection(tail=LOG_TAIL_LINES)))
    except (TfsctlError, OSError):
        return {}


def exit_cause(server: TrackedServer) -> str:
    """Why a server ended: from Docker, from the signal, or from a known error in its log. Empty if it is unknown."""
    if server.facts is not None and server.facts.exit_reason:
        return server.facts.exit_reason
    if server.exit is not None and -server.exit.status in REASONS:
        return REASONS[signal.Signals(-server.exit.status)]
    from tfsctl.diagnosis.explanations import explain

    try:
        known = explain("\n".join(lines(server, LogSelection(tail=LOG_TAIL_LINES))))
    except (NotFound, DockerError, OSError):
        return ""
    return known.cause if known else ""


def _container_log(container: str, selection: LogSelection, programs: ExitStack) -> Iterator[str]:
    options = [] if selection.tail is None else ["--tail", str(selection.tail)]
    options += [] if selection.since is None else ["--since", f"{selection.since:.6f}"]
    options += ["--timestamps"] if selection.timestamps else []
    options += ["--follow"] if selection.follow else []
    program = subprocesses.StreamingProgram(["docker", "logs", *options, container])
    programs.callback(program.stop)
    try:
        yield from program.lines()
        status = program.wait()
    finally:
        program.stop()
    if status != 0:
        raise DockerError(f"docker logs failed with status {status}; its output is above")


class _LineFormat:
    """Selects the lines of a log file by their time, and prints the time if that is wanted."""

    def __init__(self, selection: LogSelection) -> None:
        self._selection = selection
        self._time: datetime | None = None  # that of the last line that began with one

    def apply(self, line: str) -> str | None:
        """The line as it is printed, or None if it is too old."""
        match = _LINE_TIME.match(line)
        if match is not None:
            with suppress(ValueError):
                self._time = datetime.fromisoformat(f"{match[1]}.{(match[2] or '')[:6]:0<6}").astimezone(timezone.utc)
        since = self._selection.since
        if since is not None and (self._time is None or self._time.timestamp() < since):
            return None
        if not self._selection.timestamps:
            return line
        return f"{'-' if self._time is None else self._time.isoformat().replace('+00:00', 'Z')} {line}"

    def apply_all(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines that are not too old."""
        return (shown for line in lines if (shown := self.apply(line)) is not None)


def _file_log(path: Path, selection: LogSelection, *, written_by: int | None) -> Iterator[str]:
    """The lines of a file, and new lines while the process `written_by` runs."""
    line_format = _LineFormat(selection)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise NotFound(f"cannot read the log {path}: {error.strerror}") from error
    with open(descriptor, encoding="utf-8", errors="replace", newline="\n") as log:
        if selection.tail is not None:
            yield from deque(line_format.apply_all(line.rstrip("\n") for line in log), maxlen=selection.tail)
        identity = None if written_by is None else processes.process_identity(written_by)
        partial = ""
        while True:
            # Checked before reading, so that what was written before the end is still read.
            alive = (
                identity is not None and written_by is not None and processes.process_identity(written_by) == identity
            )
            *complete, partial = (partial + _read_new(log)).split("\n")
            yield from line_format.apply_all(complete)
            if not alive:
                break
            time.sleep(POLL_S)
        if partial:
            yield from line_format.apply_all([partial])


def _read_new(log: TextIO) -> str:
    """The bytes added since the last read; all of the file if it was truncated."""
    if os.fstat(log.fileno()).st_size < os.lseek(log.fileno(), 0, os.SEEK_CUR):
        log.seek(0)
    return log.read()
