"""The one application behind both ports: tells gRPC from REST, gathers bodies, sends answers."""

from __future__ import annotations

import asyncio
import re

from tfsctl.server.app.model_server import ModelServer
from tfsctl.server.config.flags import Flags
from tfsctl.server.grpc import framing
from tfsctl.server.http.exchange import BodyTooLargeError, ClientGoneError, Exchange
from tfsctl.server.process import shutdown
from tfsctl.server.request_context import current_client
from tfsctl.server.rest import api as rest_api
from tfsctl.server.rest.json import answer as json_answer
from tfsctl.server.status import Code

_MAX_BODY_BYTES = framing.MAX_MESSAGE_BYTES + framing.FRAME_HEAD_BYTES
_NO_GRPC = rest_api.RestResponse(
    415, b"this is the gRPC port: its requests are of type application/grpc\n", b"text/plain"
)
_ORIGIN = re.compile("^https?://[^/?]*", re.IGNORECASE)  # as a request to a proxy has it; every server has to take that
_ENDING = "The server is shutting down"
_ENDING_REST = rest_api.RestResponse(503, json_answer.error(_ENDING))
_ENDING_GRPC = framing.GrpcResponse(b"", Code.UNAVAILABLE, _ENDING)


class Application:
    """Answers HTTP requests from a model server. Nothing may be asked of it before `start` has returned."""

    def __init__(self, flags: Flags) -> None:
        self._rest_port = flags.rest_api_port
        self._server = ModelServer(flags)
        self._requests = shutdown.Requests()
        self._announcing: asyncio.Task[None] | None = None

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        requests = self._requests
        requests.running += 1
        current_client.set(exchange.client)
        try:
            is_grpc = framing.is_grpc(exchange.headers)
            if requests.refuse:  # so that its client asks another server
                await (_send_grpc(_ENDING_GRPC, exchange) if is_grpc else _send_rest(_ENDING_REST, exchange))
            elif exchange.port == self._rest_port:
                await self._serve_rest(exchange)
            elif is_grpc:
                await self._serve_grpc(exchange)
            else:
                await _send_rest(_NO_GRPC, exchange)
        except ClientGoneError:
            pass  # nobody is there to be answered
        finally:
            requests.running -= 1

    async def start(self) -> None:
        """Load the models; returns once all are available. Raises ServingError when that cannot come to pass."""
        await self._server.start()

    def announce(self) -> None:
        """Say that the ports are open, once they are."""
        self._announcing = asyncio.ensure_future(self._server.announce())

    async def drain(self, timeout_s: float) -> None:
        """Answer what is running, for so long at most, and refuse what comes."""
        self._server.streams.end()
        await self._requests.drain(timeout_s)

    async def stop(self) -> None:
        """Unload every model."""
        await self._server.stop()

    async def _serve_rest(self, exchange: Exchange) -> None:
        if exchange.method not in rest_api.KNOWN_METHODS:
            await _send_rest(rest_api.NOT_IMPLEMENTED, exchange)
            return
        try:
            body = await exchange.body(_MAX_BODY_BYTES)
        except BodyTooLargeError as error:
            await _send_rest(
                rest_api.RestResponse(413, json_answer.error(_too_large(error)), code=Code.RESOURCE_EXHAUSTED), exchange
            )
            return
        target = exchange.target
        if target[:1] != "/":
            target = _ORIGIN.sub("", target)
        await _send_rest(await self._server.rest.answer(exchange.method, target, exchange.headers, body), exchange)

    async def _serve_grpc(self, exchange: Exchange) -> None:
        if exchange.target in self._server.streams:
            self._requests.running -= 1  # a stream lasts as long as its client likes: nobody waits for it
            try:
                await self._server.streams.serve(exchange)
            finally:
                self._requests.running += 1
            return
        try:
            body = await exchange.body(_MAX_BODY_BYTES)
        except BodyTooLargeError as error:
            await _send_grpc(framing.GrpcResponse(b"", Code.RESOURCE_EXHAUSTED, _too_large(error)), exchange)
            return
        await _send_grpc(await self._server.grpc.answer(exchange.target, exchange.headers, body), exchange)


def _too_large(error: BodyTooLargeError) -> str:
    return f"Received message larger than max ({error.size} vs. {framing.MAX_MESSAGE_BYTES})"


async def _send_grpc(reply: framing.GrpcResponse, exchange: Exchange) -> None:
    await exchange.reply(
        200, framing.RESPONSE_HEADERS, reply.body, _GRPC_OK if reply.code is Code.OK else reply.trailers
    )


async def _send_rest(reply: rest_api.RestResponse, exchange: Exchange) -> None:
    await exchange.reply(reply.status, ((b"content-type", reply.content_type), *reply.headers), reply.body)


_GRPC_OK = framing.GrpcResponse(b"").trailers
