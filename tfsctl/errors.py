"""The expected errors of tfsctl and their exit codes.

    TfsctlError                     1  FAILED
    ├── InvalidInput                2  USAGE        wrong arguments, options or input values
    ├── ServerUnreachable           3  UNREACHABLE  nothing answers at the address
    ├── NotReadyInTime              3  UNREACHABLE  no result before the deadline
    ├── NotFound                    4  NOT_FOUND    no such model, version, signature, file or server
    ├── RequestRejected             5  REJECTED     the server refused the request
    ├── AnswerTooLarge              1  FAILED       the answer is larger than the limit of the client
    ├── DockerError                 6  DOCKER       no docker, no daemon, or the container failed
    ├── ExportError                 1  FAILED       a model could not be exported
    ├── ModelUnreadable             1  FAILED       a directory or file is not a valid model
    ├── RolloutError                1  FAILED       versions or labels could not be changed
    ├── NotBlessed                  7  THRESHOLD    a version has not passed a comparison
    └── EngineError                 1  FAILED       a model server could not be started or monitored

The message says what failed, with its name or address. `cause` explains why, if that is known. `hint` is a command or a
change that fixes it. `tfsctl.api.hints` adds both to the tracebacks of Python programs.
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """The exit codes of tfsctl, which are stable and documented in docs/reference.md."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    REJECTED = 5
    DOCKER = 6
    THRESHOLD = 7
    BUG = 70
    INTERRUPTED = 130


class TfsctlError(Exception):
    """An expected error, printed as one line and a hint, without a traceback."""

    exit_code = ExitCode.FAILED
    cause = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the attributes instead of the arguments of the constructor, which differ between subclasses."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class InvalidInput(TfsctlError):
    """Arguments, options or input values do not fit the command or the model."""

    exit_code = ExitCode.USAGE


class ServerUnreachable(TfsctlError):
    """Nothing answers at the address, or the connection broke."""

    exit_code = ExitCode.UNREACHABLE


class NotReadyInTime(TfsctlError):
    """A server was not ready, or a request had no answer, before the deadline."""

    exit_code = ExitCode.UNREACHABLE


class NotFound(TfsctlError):
    """There is no such model, version, signature, file or running server."""

    exit_code = ExitCode.NOT_FOUND


class RequestRejected(TfsctlError):
    """The server refused the request. `status` is the name of the gRPC status, such as INVALID_ARGUMENT."""

    exit_code = ExitCode.REJECTED

    def __init__(self, message: str, *, status: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class AnswerTooLarge(TfsctlError):
    """The answer of the server is larger than the limit of the client, which stopped reading it."""


class DockerError(TfsctlError):
    """Docker is missing, its daemon does not answer, or a container failed."""

    exit_code = ExitCode.DOCKER


class ExportError(TfsctlError):
    """A model could not be exported."""


class VersionTakenError(ExportError):
    """The version already exists: a version is never overwritten."""


class ModelUnreadable(TfsctlError):
    """A directory or file is not a valid model."""


class RolloutError(TfsctlError):
    """Versions or labels could not be changed. What was before is in effect, unless the message says otherwise."""


class NotBlessed(TfsctlError):
    """A version has not passed a comparison, and the command requires that."""

    exit_code = ExitCode.THRESHOLD


class EngineError(TfsctlError):
    """A model server could not be started or monitored."""


class ProgramFailed(EngineError):
    """A subprocess failed. Holds its command line, return code and output."""

    def __init__(self, argv: Sequence[str], returncode: int, stdout: str, stderr: str, *, hint: str = "") -> None:
        last_line = (stderr.strip() or stdout.strip() or "it printed nothing").splitlines()[-1]
        super().__init__(f"{argv[0]} ended with status {returncode}: {last_line}", hint=hint)
        self.argv = tuple(argv)
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr
