"""The one ASGI application behind both ports: tells gRPC from REST, gathers bodies, sends answers."""

from __future__ import annotations

import asyncio
import re

from tfsctl.server import draining, grpc, json_answer, rest
from tfsctl.server.flags import Flags
from tfsctl.server.http.exchange import Message, Receive, Send
from tfsctl.server.model_server import ModelServer
from tfsctl.server.status import Code, ServingError

Headers = dict[bytes, bytes]

_GRPC_HEADERS = [(b"content-type", b"application/grpc")]
_MAX_BODY_BYTES = grpc.MAX_MESSAGE_BYTES + 5  # and the head of its frame
_NO_GRPC = rest.Reply(415, b"this is the gRPC port: its requests are of type application/grpc\n", b"text/plain")
_ORIGIN = re.compile("^https?://[^/?]*", re.IGNORECASE)  # as a request to a proxy has it; every server has to take that
_ENDING = "The server is shutting down"
_ENDING_REST = rest.Reply(503, json_answer.error(_ENDING))
_ENDING_GRPC = grpc.Reply(b"", Code.UNAVAILABLE, _ENDING)


class Application:
    """ASGI over a model server. Nothing may be asked of it before `start` has returned."""

    def __init__(self, flags: Flags) -> None:
        self._rest_port = flags.rest_api_port
        self._server = ModelServer(flags)
        self._requests = draining.Requests()
        self._announcing: asyncio.Task[None] | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        requests = self._requests
        requests.running += 1
        try:
            if requests.refuse:
                await self._refuse(scope, send)
                return
            headers = dict(scope["headers"])
            address = scope["server"]  # None for a UNIX socket
            if address is not None and address[1] == self._rest_port:
                await self._serve_rest(scope, headers, receive, send)
            elif headers.get(b"content-type", b"").startswith(b"application/grpc"):
                await self._serve_grpc(scope["path"], headers, receive, send)
            else:
                await _send_rest(_NO_GRPC, send)
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

    async def _refuse(self, scope: Message, send: Send) -> None:
        """Answer a request that comes too late, so that its client asks another server."""
        if dict(scope["headers"]).get(b"content-type", b"").startswith(b"application/grpc"):
            await _send_grpc(_ENDING_GRPC, send)
        else:
            await _send_rest(_ENDING_REST, send)

    async def _serve_rest(self, scope: Message, headers: Headers, receive: Receive, send: Send) -> None:
        if scope["method"] not in rest.KNOWN_METHODS:
            await _send_rest(rest.NOT_IMPLEMENTED, send)
            return
        try:
            message = await receive()
            body = await _whole_body(message, receive) if message.get("more_body") else _only_body(message)
        except ServingError as error:
            await _send_rest(rest.Reply(413, json_answer.error(error.message), code=error.code), send)
            return
        if body is None:
            return
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        if target[:1] != "/":
            target = _ORIGIN.sub("", target)
        await _send_rest(await self._server.rest.answer(scope["method"], target, headers, body), send)

    async def _serve_grpc(self, path: str, headers: Headers, receive: Receive, send: Send) -> None:
        if path in self._server.streams:
            self._requests.running -= 1  # a stream lasts as long as its client likes: nobody waits for it
            try:
                await self._server.streams.serve(path, headers, receive, send)
            finally:
                self._requests.running += 1
            return
        try:
            message = await receive()
            body = await _whole_body(message, receive) if message.get("more_body") else _only_body(message)
        except ServingError as error:
            await _send_grpc(grpc.Reply(b"", error.code, error.message), send)
            return
        if body is not None:
            await _send_grpc(await self._server.grpc.answer(path, headers, body), send)


def _only_body(message: Message) -> bytes | None:
    """The body of a request that `message` is all of; None when the client went away instead."""
    return message.get("body", b"") if message["type"] == "http.request" else None


async def _whole_body(message: Message, receive: Receive) -> bytes | None:
    """The body of a request, of which `message` is the beginning; None when the client went away before its end.

    Raises RESOURCE_EXHAUSTED for one that no gRPC message could fill.
    """
    parts: list[bytes] = [message.get("body", b"")]
    size = len(parts[0])
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _MAX_BODY_BYTES:
            raise ServingError(
                Code.RESOURCE_EXHAUSTED, f"Received message larger than max ({size} vs. {grpc.MAX_MESSAGE_BYTES})"
            )
    return b"".join(parts)


async def _send_grpc(reply: grpc.Reply, send: Send) -> None:
    await send(_GRPC_START)
    await send({"type": "http.response.body", "body": reply.body})
    await send(_GRPC_OK if reply.code is Code.OK else _trailers(reply.trailers))


def _trailers(headers: list[tuple[bytes, bytes]]) -> Message:
    return {"type": "http.response.trailers", "headers": headers, "more_trailers": False}


_GRPC_START = {"type": "http.response.start", "status": 200, "headers": _GRPC_HEADERS, "trailers": True}
_GRPC_OK = _trailers(grpc.Reply(b"").trailers)


async def _send_rest(reply: rest.Reply, send: Send) -> None:
    headers = [(b"content-type", reply.content_type), (b"content-length", b"%d" % len(reply.body)), *reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
