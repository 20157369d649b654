"""Errors as TensorFlow Serving reports them: a code and a message, and the HTTP status of each code.

HTTP statuses: ToHTTPStatusCode in tensorflow_serving/model_servers/http_server.cc.
"""

from __future__ import annotations

from enum import IntEnum
from http import HTTPStatus


class Code(IntEnum):
    """The canonical status codes; gRPC and TensorFlow use the same numbers."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


HTTP_STATUS = {
    Code.OK: 200,
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.CANCELLED: 499,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
    Code.UNKNOWN: 500,
    Code.INTERNAL: 500,
    Code.DATA_LOSS: 500,
}


def error_page(status: HTTPStatus) -> bytes:
    """The page that libevent, the real server's HTTP library, writes for an error that is not the API's."""
    title, phrase = f"{status.value} {status.phrase}", status.phrase
    return f"<HTML><HEAD>\n<TITLE>{title}</TITLE>\n</HEAD><BODY>\n<H1>{phrase}</H1>\n</BODY></HTML>\n".encode()


class ServingError(Exception):
    """A request, load or configuration that failed. The message is TensorFlow Serving's where it has one.

    Bytes of the message that are not UTF-8 are surrogates (the "surrogateescape" error handler).
    `retry_after_s` is when a client may try again, for a refusal that passes.
    """

    def __init__(self, code: Code, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class UnsafeVersionError(ServingError):
    """A version that ended a process that loaded it, or would: it is refused, and the server runs without it."""


def invalid_argument(message: str) -> ServingError:
    """An INVALID_ARGUMENT error, the most common one."""
    return ServingError(Code.INVALID_ARGUMENT, message)


def not_found(message: str) -> ServingError:
    """A NOT_FOUND error."""
    return ServingError(Code.NOT_FOUND, message)
