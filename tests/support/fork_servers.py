"""Processes forked from one that has TensorFlow loaded: a few hundredths of a second each, not five seconds.

The workers of a test run share that process: the first one that needs it starts it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from filelock import FileLock
from waiting import PATIENCE_S

_SOCKET, _LOG = "control", "fork_server.log"  # in the folder of a fork server


class ForkedProcess:
    """A process that a fork server started. `wait` for it: that closes what is open here, but for its pipes."""

    def __init__(self, pid: int, status: socket.socket, pidfd: int) -> None:
        self.pid = pid
        self._status, self._pidfd = status, pidfd
        self._code: int | None = None

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it has not ended. May be called from another thread."""
        if self._code is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """End it at once, if it has not ended. May be called from another thread."""
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        has_ended = self._code is not None or select.select([self._status], [], [], 0)[0]
        return self.wait() if has_ended else None

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit status (negative: the signal that ended it). Raises TimeoutError if it has not ended by then."""
        if self._code is None:
            self._status.settimeout(timeout_s)
            answer = self._status.recv(16)
            assert answer, "the fork server has ended"
            self._code = int(answer)
            self._status.close()
            os.close(self._pidfd)
        return self._code


class ForkServer:
    """A connection to a running fork_server_process.py."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    @classmethod
    def connected(cls, folder: Path, start: Callable[[socket.socket], None] | None = None) -> ForkServer:
        """Connect to the fork server of a folder.

        If none runs there, `start` is called first, with the listening socket that a new one accepts connections on.

        Raises AssertionError if it could not start.
        """
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with _short_path(folder) as address:
            try:
                control.connect(address)
            except (FileNotFoundError, ConnectionRefusedError):
                assert start, f"no fork server in {folder}"
                (folder / _SOCKET).unlink(missing_ok=True)
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                    listener.bind(address)
                    listener.listen()
                    control.connect(address)
                    start(listener)
        try:
            is_ready = control.recv(16)
        except ConnectionResetError:
            is_ready = b""
        if not is_ready:
            control.close()
            raise AssertionError((folder / _LOG).read_text())
        return cls(control)

    def close(self) -> None:
        """Close the connection, which ends the processes that it started."""
        self._control.close()

    def start(
        self,
        program: str,
        *argv: object,
        stdio: Sequence[int],
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> ForkedProcess:
        """Run a function, `module:name`, in a process with these descriptors as stdin, stdout and stderr."""
        sys.audit("fork_servers.start", program)  # unit_guard.py looks at it
        request = {
            "program": program,
            "argv": [*map(str, argv)],
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if environment is None else environment),
        }
        status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._control, [json.dumps(request).encode()], [theirs.fileno(), *stdio])
        pid, descriptors, *_ = socket.recv_fds(status, 16, 1)
        assert pid, "the fork server has ended"
        return ForkedProcess(int(pid), status, descriptors[0])

    def start_piped(
        self, program: str, *argv: object, cwd: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> tuple[ForkedProcess, BinaryIO, BinaryIO]:
        """Run a function with our stderr; the process, and the pipes that are its stdin and stdout."""
        requests, stdin = os.pipe()
        stdout, answers = os.pipe()
        process = self.start(program, *argv, stdio=(requests, answers, 2), cwd=cwd, environment=environment)
        os.close(requests)
        os.close(answers)
        return process, os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb")

    def run(
        self,
        program: str,
        *argv: object,
        stdin: str = "",
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a function to its end; its exit status and what it wrote."""
        with _text_file(stdin) as typed, _text_file() as stdout, _text_file() as stderr:
            stdio = (typed.fileno(), stdout.fileno(), stderr.fileno())
            code = self.start(program, *argv, stdio=stdio, cwd=cwd, environment=environment).wait()
            stdout.seek(0)
            stderr.seek(0)
            return subprocess.CompletedProcess([program, *map(str, argv)], code, stdout.read(), stderr.read())

    def run_script(
        self, script: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a Python program, as `python -` would."""
        return self.run("forked_programs:run_stdin", stdin=script, cwd=cwd, environment=environment)


def _text_file(contents: str = "") -> IO[str]:
    file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - the caller closes it
    file.write(contents)
    file.seek(0)
    return file


@contextmanager
def fork_server(folder: Path, *preloaded: str, environment: Mapping[str, str]) -> Iterator[ForkServer]:
    """Connect to the fork server of a folder while the block lasts, after starting one if none runs.

    It loads these modules and calls these functions (`module:function`) first, and ends once no connection is left.
    """

    def start(listener: socket.socket) -> None:
        os.posix_spawn(  # a Popen object would warn at the end of a worker: the process may outlive it
            sys.executable,
            [sys.executable, str(Path(__file__).with_name("fork_server_process.py")), *preloaded],
            # no thread of numpy, no greetings, and oneDNN on every CPU: some models crash only in its operations
            {**environment, "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1"},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, listener.fileno(), 0),
                (os.POSIX_SPAWN_OPEN, 1, str(folder / _LOG), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setpgroup=0,  # Ctrl-C ends the tests first
        )

    folder.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        server = ForkServer.connected(folder, start)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    """A path of the socket in a folder; the address of a socket has at most 107 bytes."""
    descriptor = os.open(folder, os.O_PATH)
    try:
        yield f"/proc/self/fd/{descriptor}/{_SOCKET}"
    finally:
        os.close(descriptor)
