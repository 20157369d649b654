"""Cross-origin requests (--rest_api_enable_cors_support): the headers that let a page of another site read answers.

Headers: AddCORSHeaders in tensorflow_serving/model_servers/http_rest_api_util.cc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tfsctl.server.http.exchange import Exchange
from tfsctl.server.rest.api import Api
from tfsctl.server.rest.response import RestResponse, Send

_HEADERS = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
)


class CrossOrigin:
    """Adds CORS headers to the responses of a REST API."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def begin(self, exchange: Exchange, send: Send) -> bool:
        """Serve a request without a task. Returns False if that takes a task."""

        def send_with_headers(exchange: Exchange, response: RestResponse | None) -> None:
            send(exchange, response and replace(response, headers=_HEADERS))

        return self._api.begin(exchange, send_with_headers)

    async def answer(self, method: str, target: str, headers: Mapping[bytes, bytes], body: bytes) -> RestResponse:
        """Answer one request; HTML pages, which are not part of the API, get no CORS headers."""
        reply = await self._api.answer(method, target, headers, body)
        return reply if reply.content_type == b"text/html" else replace(reply, headers=_HEADERS)
