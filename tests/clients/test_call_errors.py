"""What failed calls become: the tables are complete, and one fault has one class over either transport."""

from __future__ import annotations

import inspect

import grpc
import httpx
import pytest

from tfsctl.clients import call_errors, rest
from tfsctl.clients import grpc as grpc_client
from tfsctl.clients.call_errors import ERROR_OF_STATUS, error_for_status
from tfsctl.core.types import ModelRef
from tfsctl.errors import NotFound, NotReadyInTime, RequestRejected, ServerUnreachable, TfsctlError

STATUSES = [code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
FAILURES = [
    kind
    for _, kind in inspect.getmembers(httpx, inspect.isclass)
    if issubclass(kind, (httpx.HTTPError, httpx.InvalidURL))
]


def test_every_grpc_status_has_an_error() -> None:
    """The table has exactly the statuses that a server can answer with."""
    assert sorted(ERROR_OF_STATUS) == sorted(STATUSES)
    assert sorted(grpc_client.STATUS_OF_CODE.values()) == sorted(STATUSES)


@pytest.mark.parametrize("kind", FAILURES)
def test_every_httpx_failure_has_a_status(kind: type[Exception]) -> None:
    """Each exception of httpx has a row in the table, and each row an error."""
    status = next(status for row, status in rest.STATUS_OF_FAILURE if issubclass(kind, row))
    assert status in ERROR_OF_STATUS


def test_every_http_status_is_a_grpc_status() -> None:
    """The HTTP statuses TensorFlow Serving answers with read back as names both transports know."""
    assert set(rest.STATUS_OF_HTTP.values()) <= set(ERROR_OF_STATUS)


@pytest.mark.parametrize(
    ("status", "words", "expected"),
    [
        ("NOT_FOUND", "Servable not found for request: Latest(m)", NotFound),
        ("NOT_FOUND", "Could not find any versions of model m", NotFound),
        ("FAILED_PRECONDITION", 'Serving signature key "s" not found.', NotFound),
        ("INVALID_ARGUMENT", 'Serving signature name: "s" not found in signature def', NotFound),
        ("INVALID_ARGUMENT", "Unrecognized servable version label: l", NotFound),
        ("INVALID_ARGUMENT", "Expects arg[0] to be float but string is provided", RequestRejected),
        ("UNAVAILABLE", "Connection refused", ServerUnreachable),
        ("DEADLINE_EXCEEDED", "timed out", NotReadyInTime),
        ("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted", RequestRejected),
    ],
)
def test_status_and_message_choose_the_class_of_an_error(status: str, words: str, expected: type[TfsctlError]) -> None:
    """The status, and for a missing signature or label the words, say which error it is."""
    assert type(error_for_status(status, words, address="host:1", about=ModelRef("m"))) is expected


def test_a_message_is_one_line_that_names_model_and_address() -> None:
    """The server's line breaks go, and model, version, address, status and its words are there."""
    error = error_for_status("INTERNAL", "it\n\t [[{{node x}}]]", address="host:1", about=ModelRef("m", version=3))
    assert error.message == "m version 3 at host:1 refused (INTERNAL): it [[{{node x}}]]"


def test_errors_of_the_model_itself_are_not_about_its_name() -> None:
    """An operation of the model may end with NOT_FOUND, for a key that a table lacks."""
    error = error_for_status("NOT_FOUND", "Key 7 not found in table", address="host:1", about=ModelRef("m"))
    assert isinstance(error, RequestRejected)
    assert (error.message, error.hint) == ("m at host:1 refused (NOT_FOUND): Key 7 not found in table", "")


def test_a_dtype_json_cannot_carry_hints_at_grpc() -> None:
    """REST has no way to send float16; gRPC has."""
    error = call_errors.error_for_status(
        "UNIMPLEMENTED", "Conversion of JSON Value: 1.5 to type: half", address="h:1", about=None
    )
    assert error.hint == "use gRPC, which supports every dtype: --grpc"
