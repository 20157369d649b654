"""Every expected failure of tfsctl, and the exit code each one ends a command with.

    TfsctlError                     1  FAILED
    ├── InvalidInput                2  USAGE        what was typed does not fit what is wanted
    ├── ServerUnreachable           3  UNREACHABLE  nobody answered at that address
    ├── NotReadyInTime              3  UNREACHABLE  it was not available before the deadline
    ├── NotFound                    4  NOT_FOUND    a model, version, signature, file or server that is not there
    ├── RequestRejected             5  REJECTED     the server answered "no" to this request
    ├── DockerError                 6  DOCKER       no docker, no daemon, or the container failed
    ├── ExportError                 1  FAILED       a model could not be made into a SavedModel version
    ├── ModelUnreadable             1  FAILED       a directory or file is not the model it should be
    └── EngineError                 1  FAILED       a model server could not be started or watched

An error says *what* failed, with the name and the address; `cause` is why, where that is known, and `hint` the next
thing to type.
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """What a tfsctl process returns; documented in docs/reference.md and stable."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    REJECTED = 5
    DOCKER = 6
    BUG = 70
    INTERRUPTED = 130


class TfsctlError(Exception):
    """An expected failure: shown as one line and a hint, never as a traceback."""

    exit_code = ExitCode.FAILED
    cause = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process gets the same error: how it was made is left aside, what it holds is kept."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class InvalidInput(TfsctlError):
    """What was typed does not fit what the command or the model wants."""

    exit_code = ExitCode.USAGE


class ServerUnreachable(TfsctlError):
    """Nobody answered at the address, or the connection broke."""

    exit_code = ExitCode.UNREACHABLE


class NotReadyInTime(TfsctlError):
    """A server or a request did not get there before its deadline."""

    exit_code = ExitCode.UNREACHABLE


class NotFound(TfsctlError):
    """A model, version, signature, file or running server that is not there."""

    exit_code = ExitCode.NOT_FOUND


class RequestRejected(TfsctlError):
    """The server refused this request. `status` is the gRPC status name, e.g. INVALID_ARGUMENT."""

    exit_code = ExitCode.REJECTED

    def __init__(self, message: str, *, status: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class DockerError(TfsctlError):
    """Docker is missing, its daemon does not answer, or a container failed."""

    exit_code = ExitCode.DOCKER


class ExportError(TfsctlError):
    """A model could not be made into a SavedModel version."""


class ModelUnreadable(TfsctlError):
    """A directory or file is not the model it should be."""


class EngineError(TfsctlError):
    """A model server could not be started or watched."""


class ProgramFailed(EngineError):
    """A program tfsctl ran ended badly; carries what ran and everything it said."""

    def __init__(self, argv: Sequence[str], returncode: int, stdout: str, stderr: str, *, hint: str = "") -> None:
        said = (stderr.strip() or stdout.strip() or "it printed nothing").splitlines()[-1]
        super().__init__(f"{argv[0]} ended with status {returncode}: {said}", hint=hint)
        self.argv = tuple(argv)
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr
