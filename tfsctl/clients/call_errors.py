"""Converts a failed call to a TfsctlError. Both transports use gRPC status names, so one table serves both."""

from __future__ import annotations

import re

from tfsctl.clients.connection import Connection, Transport
from tfsctl.core.types import ModelRef
from tfsctl.errors import AnswerTooLarge, NotFound, NotReadyInTime, RequestRejected, ServerUnreachable, TfsctlError

ERROR_OF_STATUS: dict[str, type[TfsctlError]] = {
    "CANCELLED": RequestRejected,
    "UNKNOWN": RequestRejected,
    "INVALID_ARGUMENT": RequestRejected,
    "DEADLINE_EXCEEDED": NotReadyInTime,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": RequestRejected,
    "PERMISSION_DENIED": RequestRejected,
    "RESOURCE_EXHAUSTED": RequestRejected,
    "FAILED_PRECONDITION": RequestRejected,
    "ABORTED": RequestRejected,
    "OUT_OF_RANGE": RequestRejected,
    "UNIMPLEMENTED": RequestRejected,
    "INTERNAL": RequestRejected,
    "UNAVAILABLE": ServerUnreachable,
    "DATA_LOSS": RequestRejected,
    "UNAUTHENTICATED": RequestRejected,
}

# What is missing: a model, version, label or signature. For one missing signature TensorFlow Serving answers
# INVALID_ARGUMENT over REST and FAILED_PRECONDITION over gRPC. Compiled at the first failed call.
_MISSING = (
    r'Serving signature key "[^"]*" not found|'
    r'Serving signature name: "[^"]*" not found in signature def|'
    r"No signature was found with the name:|"
    r"Unrecognized servable version label:|"
    r"Servable not found for request:|"
    r"Could not find (?:any versions|version -?\d+) of model"
)


def error_for_status(status: str, message: str, *, address: str, about: ModelRef | None) -> TfsctlError:
    """The error for a call that ended with a gRPC status and the server's message; `about` is the model, if any.

    If the message is a known one, the error carries an explanation (`cause`) and a hint.
    """
    error = _unexplained_error(status, message, address=address, about=about)
    from tfsctl.diagnosis.explanations import explain

    known = explain(message) or explain(status)
    if known is not None:
        error.cause, error.hint = known.cause, known.hint
    return error


def answer_too_large(connection: Connection, *, address: str, about: ModelRef | None) -> AnswerTooLarge:
    """The error for an answer that is larger than `max_answer_bytes`."""
    what = f"{about} at {address}" if about else address
    limit = connection.max_answer_bytes
    size = f"{limit >> 20} MB" if limit >= 1 << 20 and limit % (1 << 20) == 0 else f"{limit:,} bytes"
    return AnswerTooLarge(f"{what}: the answer is larger than {size}", hint="--max-answer SIZE allows larger answers")


def unexpected_answer(transport: Transport, why: str, *, address: str, about: ModelRef) -> RequestRejected:
    """The error for an answer that TensorFlow Serving would not send over this transport."""
    port = "REST" if transport == "rest" else "gRPC"
    return RequestRejected(
        f"{about} at {address} answered, but {why}",
        status="INTERNAL",
        hint=f"check that the port is a {port} port of TensorFlow Serving",
    )


def _unexplained_error(status: str, message: str, *, address: str, about: ModelRef | None) -> TfsctlError:
    words = " ".join(message.split()) or "no reason given"
    kind = NotFound if re.search(_MISSING, words) else ERROR_OF_STATUS[status]
    if kind is NotFound and not re.search(_MISSING, words):  # an error of the model's own operations
        kind = RequestRejected
    if kind is ServerUnreachable:
        return ServerUnreachable(f"no answer from {address}: {words}", hint="start a server with: tfsctl serve PATH")
    what = f"{about} at {address}" if about else address
    if kind is NotReadyInTime:
        return NotReadyInTime(f"{what}: no answer in time ({words})", hint="increase --timeout SECONDS")
    if kind is NotFound:
        return NotFound(f"{what}: {words}")
    return RequestRejected(f"{what} refused ({status}): {words}", status=status)
