"""Checks new versions in a separate process before the server loads them (--check_new_versions).

On some errors, TensorFlow ends the process that it runs in. So another process loads, warms up and runs a version first
(`app/check_process.py`). If that process ends, the server continues without the version.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tfsctl.errors import ProgramFailed
from tfsctl.programs.processes import PARENT_VARIABLE
from tfsctl.programs.subprocesses import Child
from tfsctl.server.process.open_files import scratch_file
from tfsctl.server.runtime.saved_model_file import allocated_bytes
from tfsctl.server.status import Code, ServingError, UnsafeVersionError

log = logging.getLogger(__name__)

JOB_VARIABLE = "TFSCTL_VERSION_CHECK"
"""The environment variable that passes a CheckJob to the checking process."""
START_TIMEOUT_S = 120.0
BASE_TIMEOUT_S = 300.0
_BYTES_PER_S = 10 * 1024 * 1024  # a large version may take longer by its size at this rate
_MAX_SIZE_S = 3600.0
_MAX_BATCH = 100  # versions per process: the job is one environment variable
_POLL_S = 0.02
_SHOWN_LINES = 30


@dataclass(frozen=True, slots=True)
class CheckJob:
    """What a checking process needs to know.

    - `settings`: the values of the server's flags
    - `token`: the beginning of each line that is a report; a model that prints does not know it
    - `versions`: name, version and directory of each version to check
    - `is_background`: whether the server serves other requests, so that the process runs with low priority
    """

    settings: Any
    token: str
    versions: Sequence[tuple[str, int, str]]
    is_background: bool

    def to_json(self) -> str:
        """The job as the value of JOB_VARIABLE."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CheckJob:
        """Read what `to_json` returned."""
        return cls(**json.loads(text))


@dataclass(slots=True)
class CheckRequest:
    """A version to check, and the error of the check: None if it may be loaded."""

    name: str
    version: int
    directory: Path
    timeout_s: float = 0.0
    is_done: bool = False
    error: ServingError | None = None
    finished: asyncio.Event = field(default_factory=asyncio.Event)


class VersionChecks:
    """Runs `command` to check versions. Versions that wait at the same time are checked by one process.

    A check ends only after its process has ended, so that two copies of a model are never in memory at a time.
    `settings` are the values of the server's flags. While `is_serving()`, the process runs with low priority.
    """

    def __init__(self, command: Sequence[str], settings: object, is_serving: Callable[[], bool]) -> None:
        self._command = tuple(command)
        self._settings = settings
        self._is_serving = is_serving
        self._thread = ThreadPoolExecutor(1, "check")  # not the loop's own, which a server waits for at its end
        self._waiting: deque[CheckRequest] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def check(self, name: str, version: int, directory: Path) -> None:
        """Return once another process has loaded and run this version.

        Raises UnsafeVersionError if that ended the process or took too long, RESOURCE_EXHAUSTED if memory was lacking.
        Other errors are not raised: the server meets them itself when it loads the version.
        """
        request = CheckRequest(name, version, directory)
        self._waiting.append(request)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        await request.finished.wait()
        if request.error is not None:
            raise request.error

    async def _work(self) -> None:
        """Check the waiting versions, in batches, until none is left."""
        while self._waiting:
            await asyncio.sleep(0)  # versions that are about to wait join the batch
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_BATCH))]
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._run, batch)
            except Exception as error:  # noqa: BLE001 - versions that wait for a check must not wait forever
                _give_up(batch, f"{type(error).__name__}: {error}")
            for request in reversed(batch):
                if request.is_done:
                    request.finished.set()
                else:  # the process ended before its turn
                    self._waiting.appendleft(request)

    def _run(self, batch: Sequence[CheckRequest]) -> None:
        """Run one process until it has checked the batch, ends, or takes too long. At least one request is done then."""
        started_s = time.monotonic()
        for request in batch:
            size_s = min(allocated_bytes(request.directory) / _BYTES_PER_S, _MAX_SIZE_S)
            request.timeout_s = BASE_TIMEOUT_S + size_s
        versions = [(request.name, request.version, str(request.directory)) for request in batch]
        job = CheckJob(self._settings, secrets.token_hex(8), versions, is_background=self._is_serving())
        environment = {JOB_VARIABLE: job.to_json(), PARENT_VARIABLE: str(os.getpid())}
        with scratch_file() as (output, _):
            try:
                child = Child(self._command, output=output.fileno(), environment=environment)
            except ProgramFailed as error:
                _give_up(batch, str(error))
                return
            reports = _Reports(output.fileno(), job.token)
            is_overdue = _wait(child, batch, reports)
            child.stop(grace_s=0)
            exit_status = child.exit_status()
            reports.read_into(batch)
            lines = reports.other_lines()
        log.info("Checked %d version(s) in another process in %.1f s", len(batch), time.monotonic() - started_s)
        current = _current(batch)
        if current is None or (exit_status == 0 and batch[0].is_done):
            return  # all done, or the process stopped early because a run had not ended
        if not reports.has_started:
            _give_up(batch, f"exit status {exit_status}: {lines[-1] if lines else 'no output'}")
        else:
            current.error = _unsafe(current, None if is_overdue else exit_status, lines)
            current.is_done = True


class _Reports:
    """The output of a check process: lines that begin with the token are its reports, in the order of the batch."""

    def __init__(self, output: int, token: str) -> None:
        self._output = output
        self._token = token.encode()
        self.has_started = False
        self.count = 0

    def read_into(self, batch: Sequence[CheckRequest]) -> None:
        """Mark the requests that are reported done."""
        lines = [line for line in self._lines() if line.startswith(self._token)]
        self.has_started = bool(lines)
        self.count = len(lines)
        for request, line in zip(batch, lines[1:], strict=False):  # the first says that TensorFlow is ready
            report = json.loads(line[len(self._token) :])
            request.is_done = True
            if report["code"] == Code.RESOURCE_EXHAUSTED:
                request.error = ServingError(Code.RESOURCE_EXHAUSTED, report["message"])

    def other_lines(self) -> list[str]:
        """The lines of the output that are not reports."""
        return [line.decode("utf-8", "replace") for line in self._lines() if not line.startswith(self._token)]

    def _lines(self) -> list[bytes]:
        text = os.pread(self._output, os.fstat(self._output).st_size, 0)  # the process writes at the file's position
        *lines, _unfinished = text.split(b"\n")
        return lines


def _wait(child: Child, batch: Sequence[CheckRequest], reports: _Reports) -> bool:
    """Wait until the process ends or is overdue. Returns whether it is overdue."""
    count, since_s = -1, time.monotonic()
    while child.exit_status() is None:
        reports.read_into(batch)
        if reports.count != count:
            count, since_s = reports.count, time.monotonic()
        current = _current(batch)
        timeout_s = current.timeout_s if current is not None and reports.has_started else START_TIMEOUT_S
        if time.monotonic() - since_s > timeout_s:
            return True
        time.sleep(_POLL_S)
    return False


def _current(batch: Sequence[CheckRequest]) -> CheckRequest | None:
    """The version that the process checks, or checked when it ended; None after the last one."""
    return next((request for request in batch if not request.is_done), None)


def _unsafe(request: CheckRequest, exit_status: int | None, lines: Sequence[str]) -> UnsafeVersionError:
    """The error of a version that ended the process with this exit status, or None if the check took too long.

    Logs the last of the lines that the process wrote before it ended.
    """
    if exit_status is None:
        return UnsafeVersionError(
            Code.DEADLINE_EXCEEDED,
            f"The version is not loaded: another process did not load and run it within {request.timeout_s:.0f} s",
        )
    for line in lines[-_SHOWN_LINES:]:
        log.error("%s %d: %s", request.name, request.version, line)
    return UnsafeVersionError(
        Code.INTERNAL,
        "The version is not loaded, as it could end the server: another process that loaded and ran it "
        f"ended with {_describe_status(exit_status)}{_reason(lines)}",
    )


def _give_up(batch: Sequence[CheckRequest], reason: str) -> None:
    """No process could be started: load the versions unchecked rather than never."""
    log.warning("New versions cannot be checked in another process and are loaded unchecked: %s", reason)
    for request in batch:
        request.is_done = True


def _describe_status(exit_status: int) -> str:
    """An exit status for messages: the name of the signal if it is negative."""
    if exit_status < 0:
        return signal.Signals(-exit_status).name
    return f"exit status {exit_status}"


def _reason(lines: Sequence[str]) -> str:
    """The line that tells why the process ended, if there is one."""
    for line in lines:
        if "Check failed" in line or "what():" in line or line.startswith("F0000"):
            return f": {line.partition('] ')[2] or line}".rstrip()
    return ""


def check_command() -> list[str]:
    """The command that checks versions: this Python, with this tfsctl."""
    return [sys.executable, "-m", "tfsctl.server.app.check_process"]
