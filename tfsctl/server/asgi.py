"""The one ASGI application behind both ports: tells gRPC from REST, gathers bodies, sends answers.

Server runtimes import `application`; what it serves comes from the flags in the environment (see `launch.py`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tfsctl.server import draining, grpc, json_answer, listening, logs, model_server, rest
from tfsctl.server import flags as server_flags
from tfsctl.server.status import Code, ServingError

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = dict[bytes, bytes]

_GRPC_HEADERS = [(b"content-type", b"application/grpc")]
_MAX_BODY_BYTES = grpc.MAX_MESSAGE_BYTES + 5  # and the head of its frame
_NO_GRPC = rest.Reply(415, b"this is the gRPC port: its requests are of type application/grpc\n", b"text/plain")
_ORIGIN = re.compile("^https?://[^/?]*", re.IGNORECASE)  # as a request to a proxy has it; every server has to take that
_ENDING = "The server is shutting down"
_ENDING_REST = rest.Reply(503, json_answer.error(_ENDING))
_ENDING_GRPC = grpc.Reply(b"", Code.UNAVAILABLE, _ENDING)


class Application:
    """ASGI over a model server. The ports open once the lifespan has started: when every model is available."""

    def __init__(self, flags: server_flags.Flags) -> None:
        self._flags = flags
        self._rest_port = flags.rest_api_port
        self._server: model_server.ModelServer | None = None
        self._requests = draining.Requests()
        self._is_starting = True

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request, or the life of the process."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
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

    def end_now(self) -> None:
        """End the process, leaving nothing behind on the disk."""
        listening.tidy(self._flags)
        logs.flush()
        os._exit(0)

    async def end(self) -> None:
        """Drain and unload everything, for a runtime that would not."""
        await self.drain()
        if self._server is not None:
            await self._server.stop()

    def end_streams(self) -> None:
        """End the calls that would last as long as their clients like."""
        if self._server is not None:
            self._server.streams.end()

    async def drain(self) -> None:
        """Answer what is running and refuse what comes, before the end; at most for --drain_timeout_seconds."""
        if self._is_starting:
            self.end_now()  # nothing is served yet, and a runtime may not listen to signals before that
        timeout_s = max(0, self._flags.drain_timeout_seconds)
        draining.end_within(timeout_s, self.end_now)
        self.end_streams()
        await self._requests.drain(timeout_s)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        draining.pass_signals_on(self.drain)
        self._server = model_server.ModelServer(self._flags)
        try:
            await self._server.start()
        except ServingError as error:
            listening.tidy(self._flags)
            print(f"Failed to start server. Error: {error}", flush=True)  # noqa: T201 - the real server's words, on stdout
            logs.flush()
            os._exit(server_flags.START_FAILED)  # the runtime around us would report a failure of its own
        self._is_starting = False
        announcing = asyncio.create_task(self._server.announce())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        announcing.cancel()
        await self._server.stop()
        listening.tidy(self._flags)
        await send({"type": "lifespan.shutdown.complete"})

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
        if body is None or self._server is None:
            return
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        if target[:1] != "/":
            target = _ORIGIN.sub("", target)
        await _send_rest(await self._server.rest.answer(scope["method"], target, headers, body), send)

    async def _serve_grpc(self, path: str, headers: Headers, receive: Receive, send: Send) -> None:
        if self._server is None:
            return
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


def _application() -> Application:
    logs.start()
    return Application(server_flags.parse(json.loads(os.environ[server_flags.FLAGS_VARIABLE])).flags)


def __getattr__(name: str) -> Application:
    if name == "application":
        globals()[name] = _application()
        made: Application = globals()[name]
        return made
    raise AttributeError(name)
