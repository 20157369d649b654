"""The application behind both ports: tells gRPC from REST, reads request bodies, and sends the APIs' responses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Mapping
from typing import Any

from google.protobuf.message import DecodeError

from tfsctl.core import protos
from tfsctl.server.app.model_server import ModelServer
from tfsctl.server.config.channel_arguments import max_message_bytes
from tfsctl.server.config.flags import Flags
from tfsctl.server.grpc import framing
from tfsctl.server.grpc.api import RELOAD_PATH
from tfsctl.server.grpc.direct_calls import DIRECT_PATHS
from tfsctl.server.http.exchange import SMALL_RESPONSE_BYTES, Exchange, Pairs
from tfsctl.server.http.timeouts import within
from tfsctl.server.limits import MAX_MESSAGE_BYTES
from tfsctl.server.memory_budget import BudgetExceededError
from tfsctl.server.monitoring.recorder import Recorder
from tfsctl.server.process import shutdown
from tfsctl.server.process.freeing import free_large
from tfsctl.server.request_body import GRPC_PREFIX_BYTES, BodyTimeoutError, BodyTooLargeError, ClientGoneError
from tfsctl.server.rest import api as rest_api
from tfsctl.server.rest.json import results as json_results
from tfsctl.server.rest.response import JSON, RestResponse
from tfsctl.server.status import Code, ServingError

_NOT_GRPC = RestResponse(415, b"this is the gRPC port: its requests are of type application/grpc\n", b"text/plain")
_ORIGIN = re.compile("^https?://[^/?]*", re.IGNORECASE)  # of a request to a proxy; every server has to accept it
_DRAINING = "The server is shutting down"
_DRAINING_REST = RestResponse(503, json_results.error(_DRAINING))
_DRAINING_GRPC = framing.GrpcResponse(b"", Code.UNAVAILABLE, _DRAINING)
_NO_LOGGING = "logging_config may be set only by clients on this machine, because it writes files"
_NOT_POST = framing.GrpcResponse(b"", Code.INTERNAL, "Error parsing ':method' metadata")  # the words of gRPC's server
_SLOW_BODY = "The request's body arrived too slowly"
_RUN_TIMEOUT = "Timed out waiting for notification"  # TensorFlow Serving's words
_RETRY_LATER = ((b"retry-after", b"1"),)
_LARGE_BYTES = 64 * 1024  # of a body: reading it takes so long that the REST timeout has to cover it
_JSON_HEADERS = ((b"content-type", JSON),)
_OK_TRAILERS = framing.GrpcResponse(b"").trailers


class Application:
    """Answers HTTP requests from a model server. It can be called after `start` has returned."""

    def __init__(self, flags: Flags) -> None:
        self._rest_port = flags.rest_api_port
        self._rest_timeout_s = flags.rest_timeout_s
        self._max_body_bytes = min(flags.max_body_bytes or MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES)
        self._small_body_bytes = min(self._max_body_bytes, _LARGE_BYTES)
        self._max_message_bytes = min(self._max_body_bytes, max_message_bytes(flags.grpc_channel_arguments))
        self._max_framed_bytes = self._max_message_bytes + GRPC_PREFIX_BYTES
        self.requests = shutdown.RunningRequests()
        """The running requests, which the listener counts."""
        self._server = ModelServer(flags, self.requests)
        self._model_reload = flags.model_reload

    def __call__(self, exchange: Exchange) -> Coroutine[Any, Any, None] | None:
        """Answer one request. Returns the coroutine that does so; None if the request is answered without a task."""
        if not exchange.has_all or self.requests.is_draining:
            pass
        elif exchange.port != self._rest_port:
            if self._is_direct_call(exchange) and self._server.grpc.direct_calls.begin(exchange):
                return None
        elif exchange.size <= self._small_body_bytes and self._server.rest.begin(exchange, self._finish_rest):
            return None
        return self._serve(exchange)

    def _is_direct_call(self, exchange: Exchange) -> bool:
        """Whether a request that came in by the gRPC port may be answered without a task."""
        return (
            exchange.target in DIRECT_PATHS
            and exchange.method == "POST"
            and exchange.size <= self._max_framed_bytes
            and framing.is_grpc(exchange.headers)
        )

    def _finish_rest(self, exchange: Exchange, response: RestResponse | None) -> None:
        """Send the response to a REST request that is answered without a task; None if a task has to answer it."""
        if response is None:
            exchange.serve_by_task(self._serve(exchange))
        elif len(response.body) > SMALL_RESPONSE_BYTES:
            exchange.serve_by_task(self._send_rest(response, exchange))
        else:
            exchange.respond(response.status, _headers(response), response.body)

    async def _serve(self, exchange: Exchange) -> None:
        try:
            if self.requests.is_draining:  # so that the client asks another server
                self._server.recorder.request_rejected("draining")
                is_grpc = framing.is_grpc(exchange.headers)
                await (_send_grpc(_DRAINING_GRPC, exchange) if is_grpc else _send_rest(_DRAINING_REST, exchange))
            elif exchange.port == self._rest_port:
                await self._serve_rest(exchange)
            elif not framing.is_grpc(exchange.headers):
                await _send_rest(_NOT_GRPC, exchange)
            elif exchange.method != "POST":
                await _send_grpc(_NOT_POST, exchange)
            elif exchange.target in self._server.streams.handlers:
                await self._serve_stream(exchange)
            else:
                await self._serve_call(exchange)
        except ClientGoneError:
            pass

    async def start(self) -> None:
        """Load the models. Returns when all are available; raises ServingError if one cannot be loaded."""
        await self._server.start()

    def announce(self) -> None:
        """Log that the ports are open."""
        self._server.announce()

    async def drain(self, timeout_s: float) -> None:
        """Finish the running requests within the timeout, and refuse new ones."""
        self.end_streams()
        await self.requests.drain(timeout_s)

    def end_streams(self) -> None:
        """End the open streams, which only their clients would end otherwise."""
        self._server.streams.end()

    async def stop(self) -> None:
        """Unload every model."""
        await self._server.stop()

    @property
    def recorder(self) -> Recorder:
        """The recorder of the server's metrics, which exists after `start`."""
        return self._server.recorder

    async def _serve_rest(self, exchange: Exchange) -> None:
        if exchange.method not in rest_api.KNOWN_METHODS:
            await _send_rest(rest_api.NOT_IMPLEMENTED, exchange)
            return
        if exchange.has_all and exchange.size <= self._small_body_bytes:
            body = await exchange.body(self._max_body_bytes)
            response = await self._answer_rest(exchange, body)
        else:
            response = await self._answer_slow_rest(exchange)
        await self._send_rest(response, exchange)

    async def _send_rest(self, response: RestResponse, exchange: Exchange) -> None:
        """Send a response, which may be too large for the memory budget."""
        try:
            await _send_rest(response, exchange)
        except BudgetExceededError as error:
            await _send_rest(_over_budget(error), exchange)
        free_large((response.body,))

    async def _answer_slow_rest(self, exchange: Exchange) -> RestResponse:
        """Read a body that has not arrived or is large, and answer it, all within the REST timeout."""

        async def read_and_answer() -> RestResponse:
            return await self._answer_rest(exchange, await exchange.body(self._max_body_bytes))

        try:
            return await within(self._rest_timeout_s, read_and_answer())
        except BodyTooLargeError as error:
            text = _too_large(error, self._max_body_bytes)
            return RestResponse(413, json_results.error(text), code=Code.RESOURCE_EXHAUSTED)
        except BudgetExceededError as error:
            return _over_budget(error)
        except BodyTimeoutError:
            return RestResponse(408, json_results.error(_SLOW_BODY), code=Code.DEADLINE_EXCEEDED)
        except asyncio.TimeoutError:
            if not (exchange.has_all or exchange.waited_s):
                self.recorder.request_rejected("body_timeout")
                return RestResponse(408, json_results.error(_SLOW_BODY), code=Code.DEADLINE_EXCEEDED)
            return RestResponse(504, json_results.error(_RUN_TIMEOUT), code=Code.DEADLINE_EXCEEDED)

    def _answer_rest(self, exchange: Exchange, body: bytes) -> Coroutine[Any, Any, RestResponse]:
        target = exchange.target
        if target[:1] != "/":
            target = _ORIGIN.sub("", target)
        return self._server.rest.answer(exchange.method, target, exchange.headers, body)

    async def _serve_stream(self, exchange: Exchange) -> None:
        exchange.is_streaming = True
        self.requests.running -= 1  # a stream lasts as long as its client likes: draining does not wait for it
        try:
            await self._server.streams.serve(exchange)
        finally:
            self.requests.running += 1

    async def _serve_call(self, exchange: Exchange) -> None:
        """Read the message of a unary call, and send the response."""
        try:
            if exchange.target == RELOAD_PATH:
                response = await self._answer_reload(exchange)
            else:
                deadline_s = None if exchange.has_all else framing.read_deadline(exchange.headers)
                reading = exchange.body(self._max_framed_bytes, is_framed=True, deadline_s=deadline_s)
                # No variable may refer to the body: it is freed while the response is sent.
                response = await self._server.grpc.answer(exchange.target, exchange.headers, await reading)
            trailers = _OK_TRAILERS if response.code is Code.OK else response.trailers
            await exchange.reply(200, framing.RESPONSE_HEADERS, response.body, trailers)
            free_large((response.body,))
        except BodyTooLargeError as error:
            message = _too_large(error, self._max_message_bytes)
            await _send_grpc(framing.GrpcResponse(b"", Code.RESOURCE_EXHAUSTED, message), exchange)
        except ServingError as error:  # of the body; the answer has its own
            await _send_grpc(framing.GrpcResponse(b"", error.code, error.message), exchange)
        except BodyTimeoutError:
            await _send_grpc(framing.GrpcResponse(b"", Code.DEADLINE_EXCEEDED, _SLOW_BODY), exchange)

    async def _answer_reload(self, exchange: Exchange) -> framing.GrpcResponse:
        """Answer ReloadConfig, unless this client may not call it, or not with this message."""
        if refusal := self._reload_refusal(exchange):
            return framing.failure(Code.PERMISSION_DENIED, refusal)
        body = await exchange.body(self._max_framed_bytes, is_framed=True)
        if not exchange.is_local and turns_on_logging(exchange.headers, body):
            return framing.failure(Code.PERMISSION_DENIED, _NO_LOGGING)
        return await self._server.grpc.answer(exchange.target, exchange.headers, body)

    def _reload_refusal(self, exchange: Exchange) -> str:
        """Why this client may not change the served models (--model_reload); "" if it may."""
        if self._model_reload == "off":
            return "ReloadConfig is switched off (--model_reload=off)"
        if self._model_reload == "local" and not exchange.is_local:
            return "ReloadConfig is allowed only to clients on this machine (--model_reload=local)"
        return ""


def turns_on_logging(headers: Mapping[bytes, bytes], body: bytes) -> bool:
    """Whether a ReloadConfig request has a logging_config, which names files that the server writes."""
    try:
        request = protos.ReloadConfigRequest.FromString(framing.unframe(headers, body))
    except (DecodeError, ServingError):
        return False  # the service refuses the request
    return any(model.HasField("logging_config") for model in request.config.model_config_list.config)


def _too_large(error: BodyTooLargeError, limit: int) -> str:
    return f"Received message larger than max ({error.size} vs. {limit})"


def _over_budget(error: BudgetExceededError) -> RestResponse:
    """413 for a request that is too large even for an idle server, 503 for one that has to wait for others."""
    body = json_results.error(error.message)
    if error.size > error.limit:
        return RestResponse(413, body, code=error.code)
    return RestResponse(503, body, code=error.code, headers=_RETRY_LATER)


def _send_grpc(response: framing.GrpcResponse, exchange: Exchange) -> Coroutine[Any, Any, None]:
    return exchange.reply(200, framing.RESPONSE_HEADERS, response.body, response.trailers)


def _send_rest(response: RestResponse, exchange: Exchange) -> Coroutine[Any, Any, None]:
    return exchange.reply(response.status, _headers(response), response.body)


def _headers(response: RestResponse) -> Pairs:
    if response.content_type is JSON and not response.headers:
        return _JSON_HEADERS
    return ((b"content-type", response.content_type), *response.headers)
