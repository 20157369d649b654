"""The metrics page (--monitoring_config_file): a REST API that answers the page's path before another REST API."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tfsctl.server.http.exchange import Exchange
from tfsctl.server.rest.api import Api
from tfsctl.server.rest.response import RestResponse, Send
from tfsctl.server.status import Code


class MetricsPage:
    """Answers requests for the path of the metrics page with what `write` returns, and passes on all others."""

    def __init__(self, api: Api, path: str, write: Callable[[], bytes]) -> None:
        self._api = api
        self._path = path
        self._write = write

    def begin(self, exchange: Exchange, send: Send) -> bool:
        """Serve a request for another path without a task. Returns False if that takes a task."""
        return not exchange.target.startswith(self._path) and self._api.begin(exchange, send)

    async def answer(self, method: str, target: str, headers: Mapping[bytes, bytes], body: bytes) -> RestResponse:
        """Answer one request. A query string after the page's path is an error, as in TensorFlow Serving."""
        if not target.startswith(self._path) or target.partition("?")[0] != self._path:
            return await self._api.answer(method, target, headers, body)
        if target == self._path:
            return RestResponse(200, self._write(), b"text/plain")
        message = f"Unexpected path: {target}. Should be {self._path}"
        return RestResponse(400, message.encode("utf-8", "replace"), b"text/plain", code=Code.INVALID_ARGUMENT)
