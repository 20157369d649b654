"""The one door to other programs: argument lists, never a shell; a failure carries everything that was said."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tfsctl.errors import ProgramFailed
from tfsctl.programs.processes import STOP_GRACE_S

# The statuses a shell and timeout(1) give for what is not a program's own end.
TIMED_OUT, NOT_EXECUTABLE, NOT_FOUND = 124, 126, 127

_left_running: list[subprocess.Popen[bytes]] = []  # Popen warns about a running child nobody holds any more


class Output(NamedTuple):
    """What a program wrote."""

    stdout: str
    stderr: str


def run(argv: Sequence[str], *, timeout_s: float = 60.0) -> Output:
    """Run a program to its end and return what it wrote.

    Raises ProgramFailed for a status other than 0, for a program that is not there (status 127) and for one that took
    too long (124).
    """
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed(argv, TIMED_OUT, "", f"no end within {timeout_s:g} s") from error
    except OSError as error:
        raise _not_started(argv, error) from error
    if done.returncode != 0:
        raise ProgramFailed(argv, done.returncode, done.stdout, done.stderr)
    return Output(done.stdout, done.stderr)


def run_aloud(argv: Sequence[str]) -> None:
    """Run a program that takes a while and shows its progress, which goes to our stderr. Raises ProgramFailed."""
    try:
        status = subprocess.call(argv, stdin=subprocess.DEVNULL, stdout=2)
    except OSError as error:
        raise _not_started(argv, error) from error
    if status != 0:
        raise ProgramFailed(argv, status, "", "")


class Child:
    """A program this process started and watches; its output goes to a log file, or nowhere.

    It has a session of its own, so Ctrl-C in our terminal reaches it only through `stop`. `pid` is its process.
    """

    def __init__(
        self, argv: Sequence[str], *, log_path: Path = Path(os.devnull), environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the program, its environment ours plus `environment`. Raises ProgramFailed when it cannot be."""
        self.argv = tuple(argv)
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            self._popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        except OSError as error:
            raise _not_started(argv, error) from error
        finally:
            os.close(log)
        self.pid = self._popen.pid

    def ended(self) -> int | None:
        """Its exit status (negative: the signal that ended it), or None while it runs."""
        return self._popen.poll()

    def stop(self, *, grace_s: float = STOP_GRACE_S) -> None:
        """Ask it to end with SIGTERM, and after `grace_s` end it and all it started. Returns when it is gone."""
        if self.ended() is None:
            self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(grace_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()

    def leave_running(self) -> None:
        """Let it outlive this process."""
        _left_running.append(self._popen)


class Printing:
    """A program whose output, both streams of it, is read as it comes."""

    def __init__(self, argv: Sequence[str]) -> None:
        """Start the program, in a session of its own. Raises ProgramFailed when it cannot be."""
        try:
            self._popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise _not_started(argv, error) from error

    def lines(self) -> Iterator[str]:
        """Each line it prints, until it ends."""
        if self._popen.stdout is not None:
            with self._popen.stdout as output:
                for line in output:
                    yield line.rstrip("\n")

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        return self._popen.wait()

    def stop(self) -> None:
        """End it, if it runs. Returns when it is gone."""
        self._popen.terminate()
        self._popen.wait()


def _not_started(argv: Sequence[str], error: OSError) -> ProgramFailed:
    status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    return ProgramFailed(argv, status, "", f"cannot be started: {error.strerror}")
