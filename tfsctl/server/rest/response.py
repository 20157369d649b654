"""The responses of the REST API, apart from the bodies of successful ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from tfsctl.server.http.exchange import Exchange
from tfsctl.server.rest.json import results as json_results
from tfsctl.server.status import HTTP_STATUS, Code, ServingError, error_page

JSON = b"application/json"


@dataclass(slots=True)
class RestResponse:
    """An HTTP response. `code` is the outcome behind the status; `headers` are those besides its type and length."""

    status: int
    body: bytes
    content_type: bytes = JSON
    code: Code = Code.OK
    headers: tuple[tuple[bytes, bytes], ...] = ()


Send = Callable[[Exchange, "RestResponse | None"], None]
"""Sends the response to a request that was served without a task; None if a task has to serve it from the start."""


def error_response(error: ServingError) -> RestResponse:
    """The response to a request that fails."""
    retry_after = () if error.retry_after_s is None else ((b"retry-after", b"%d" % error.retry_after_s),)
    return RestResponse(
        HTTP_STATUS[error.code], json_results.error(error.message), code=error.code, headers=retry_after
    )


def bug_response(error: BaseException) -> RestResponse:
    """The response to a request that a bug makes fail."""
    return RestResponse(500, json_results.error(f"{type(error).__name__}: {error}"), code=Code.INTERNAL)


def html_page(status: HTTPStatus) -> RestResponse:
    """The response to a request that the REST API does not know."""
    return RestResponse(status.value, error_page(status), b"text/html", Code.UNKNOWN)
