"""Processes forked from one that has TensorFlow loaded: a few hundredths of a second each, not five seconds."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from waiting import PATIENCE_S


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
    """The client of a running fork_server_process.py."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    @classmethod
    def inherited(cls, descriptor: str) -> ForkServer:
        """That of a descriptor, which this process has from the one that started the fork server."""
        return cls(socket.socket(fileno=int(descriptor)))

    @property
    def descriptor(self) -> int:
        """The descriptor that another process can inherit."""
        return self._control.fileno()

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
def fork_server(
    *preloaded: str, environment: Mapping[str, str], inherits: Sequence[ForkServer] = ()
) -> Iterator[ForkServer]:
    """Run fork_server_process.py with these modules and functions while the block lasts."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    argv = [sys.executable, str(Path(__file__).with_name("fork_server_process.py")), str(theirs.fileno()), *preloaded]
    env = {**environment, "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}  # no thread of numpy, no greetings
    with ours, _text_file() as log:
        with theirs:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stderr=log,
                env=env,
                pass_fds=[theirs.fileno(), *(server.descriptor for server in inherits)],
                start_new_session=True,
            )
        try:
            yield ForkServer(ours)
        finally:
            ours.close()
            code = process.wait(timeout=PATIENCE_S)
            log.seek(0)
            assert code == 0, log.read()
