"""Run other programs, always as argument lists and never through a shell.

- `run`: run to the end and return the output
- `run_showing_output`: run to the end with the output on our stderr
- `Child`: start a program and watch it
- `DetachedChild`: the same for a program that outlives this process
- `StreamingProgram`: start a program and read its output
- `PipedProgram`: start a program, send it requests and read its answers
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple, cast

from tfsctl.errors import EngineError, ProgramFailed
from tfsctl.programs import exit_recorder, processes
from tfsctl.programs.exit_records import read_exit_record
from tfsctl.programs.processes import STOP_GRACE_S

# The exit statuses that a shell and timeout(1) report for a program that did not exit itself.
TIMED_OUT, NOT_EXECUTABLE, NOT_FOUND = 124, 126, 127

_detached: list[subprocess.Popen[bytes]] = []  # keeps a reference: Popen warns when a running child is collected


class Output(NamedTuple):
    """The output of a program."""

    stdout: str
    stderr: str


def run(argv: Sequence[str], *, timeout_s: float = 60.0) -> Output:
    """Run a program to its end and return its output.

    Raises ProgramFailed if it exits with a status other than 0, does not exist (status 127) or takes too long (124).
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


def run_showing_output(argv: Sequence[str]) -> None:
    """Run a program to its end with its output, such as progress, on our stderr. Raises ProgramFailed."""
    try:
        status = subprocess.call(argv, stdin=subprocess.DEVNULL, stdout=2)
    except OSError as error:
        raise _not_started(argv, error) from error
    if status != 0:
        raise ProgramFailed(argv, status, "", "")


class Child:
    """A program that this process started and watches.

    Its output goes to the file descriptor `output`, or to a log file (default: nowhere). It has a
    separate session, so Ctrl-C in our terminal does not reach it. `pid` is its process id.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log_path: Path = Path(os.devnull),
        log_may_be_link: bool = True,
        output: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the program with our environment plus `environment`.

        Raises ProgramFailed if it cannot be started, EngineError if the log cannot be written.
        """
        self.argv = tuple(argv)
        log = _open_log(log_path, may_be_link=log_may_be_link) if output is None else os.dup(output)
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

    def exit_status(self) -> int | None:
        """Its exit status (negative: the signal that ended it), or None while it runs."""
        return self._popen.poll()

    def stop(self, *, grace_s: float = STOP_GRACE_S) -> None:
        """Send SIGTERM, and after `grace_s` SIGKILL to its process group. Returns when it has ended."""
        if self.exit_status() is None:
            self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(grace_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()

    def detach(self) -> None:
        """Let it outlive this process."""
        _keep_until_ended(self._popen)


class DetachedChild:
    """A program in its own session that can outlive this process, with a record of how it ends.

    Its parent is `exit_recorder`, which writes `exit_file` (see `exit_records`). The methods are those of `Child`.
    """

    def __init__(self, argv: Sequence[str], *, log_path: Path, exit_file: Path, environment: Mapping[str, str]) -> None:
        """Start the program with our environment plus `environment`. Raises ProgramFailed if it cannot be started."""
        self._exit_file = exit_file
        with suppress(OSError):  # an earlier record is ignored: it has another process id
            exit_file.unlink()
        log = _open_log(log_path, may_be_link=False)
        try:
            self._recorder = subprocess.Popen(
                [sys.executable, "-I", "-S", exit_recorder.__file__, str(exit_file), *argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        except OSError as error:
            raise _not_started(argv, error) from error
        finally:
            os.close(log)
        with cast("IO[bytes]", self._recorder.stdin) as stdin, cast("IO[bytes]", self._recorder.stdout) as stdout:
            variables = {**os.environ, **environment}
            stdin.write(b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in variables.items()) + b"\0")
            stdin.close()
            result, _, number = stdout.readline().decode().partition(" ")
        if result != "started":
            self._recorder.wait()
            code = int(number or errno.EIO)
            raise _not_started(argv, OSError(code, os.strerror(code)))
        self.pid = int(number)

    def exit_status(self) -> int | None:
        """Its exit status (negative: the signal that ended it), or None while it runs."""
        if self._recorder.poll() is None:
            return None
        recorded = read_exit_record(self._exit_file, self.pid)
        if recorded is not None:
            return recorded.status
        # The recorder was killed, so nobody knows the status.
        return None if processes.process_identity(self.pid) is not None else -signal.SIGKILL

    def stop(self, *, grace_s: float = STOP_GRACE_S) -> None:
        """Send SIGTERM, and after `grace_s` SIGKILL to its process group. Returns when it has ended."""
        processes.stop(self.pid, grace_s=grace_s)
        self._recorder.wait()

    def detach(self) -> None:
        """Let it outlive this process."""
        _keep_until_ended(self._recorder)


def _keep_until_ended(process: subprocess.Popen[bytes]) -> None:
    """Keep a reference to a detached process, and drop those of processes that have ended."""
    _detached[:] = [*(other for other in _detached if other.poll() is None), process]


class StreamingProgram:
    """A program whose output (stdout and stderr) is read line by line."""

    def __init__(self, argv: Sequence[str]) -> None:
        """Start the program in its own session. Raises ProgramFailed if it cannot be started."""
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
        """Each line that it prints, until it ends."""
        if self._popen.stdout is not None:
            with self._popen.stdout as output:
                for line in output:
                    yield line.rstrip("\n")

    def wait(self) -> int:
        """Wait until it ends, and return its exit status."""
        return self._popen.wait()

    def stop(self) -> None:
        """Send SIGTERM if it runs. Returns when it has ended."""
        self._popen.terminate()
        self._popen.wait()


class PipedProgram:
    """A program that reads requests from its stdin and writes answers to its stdout. Its stderr is ours.

    It has its own session, so Ctrl-C in our terminal does not reach it. It should end when its stdin is closed.
    """

    def __init__(self, argv: Sequence[str], *, working_directory: Path | None = None) -> None:
        """Start the program, in our working directory by default. Raises ProgramFailed if it cannot be started."""
        try:
            self._popen = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=working_directory, start_new_session=True
            )
        except OSError as error:
            raise _not_started(argv, error) from error
        self.stdin = cast("BinaryIO", self._popen.stdin)
        self.stdout = cast("BinaryIO", self._popen.stdout)

    def wait(self) -> int:
        """Wait until it ends, and return its exit status (negative: the signal that ended it)."""
        return self._popen.wait()

    def kill(self) -> None:
        """End it at once; its stdout ends too. May be called from another thread."""
        self._popen.kill()

    def stop(self, *, grace_s: float = STOP_GRACE_S) -> None:
        """Close its stdin, and kill it if it does not end within `grace_s`. Returns when it has ended."""
        with suppress(OSError):
            self.stdin.close()
        try:
            self._popen.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self.stdout.close()


def _not_started(argv: Sequence[str], error: OSError) -> ProgramFailed:
    """The error of a program that could not be started."""
    status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    return ProgramFailed(argv, status, "", f"cannot be started: {error.strerror}")


def _open_log(path: Path, *, may_be_link: bool) -> int:
    """Open a log for writing. Raises EngineError, also for a symbolic link unless `may_be_link`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | (0 if may_be_link else os.O_NOFOLLOW)
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise EngineError(f"cannot write the log {path}: {error.strerror}") from error
