"""The one ASGI application behind both ports: tells gRPC from REST, gathers bodies, sends answers.

Server runtimes import `application`; what it serves comes from the flags in the environment (see `launch.py`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tfsctl.server import flags as server_flags
from tfsctl.server import grpc, model_server, rest
from tfsctl.server.status import ServingError

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_GRPC_HEADERS = [(b"content-type", b"application/grpc")]


class Application:
    """ASGI over a model server. The ports open once the lifespan has started: when every model is available."""

    def __init__(self, flags: server_flags.Flags) -> None:
        self._flags = flags
        self._server: model_server.ModelServer | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request, or the life of the process."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._server = model_server.ModelServer(self._flags)
        try:
            await self._server.start()
        except ServingError as error:
            print(f"Failed to start server. Error: {error}", flush=True)  # noqa: T201 - the real server's words, on stdout
            os._exit(server_flags.START_FAILED)  # the runtime around us would report a failure of its own
        announcing = asyncio.create_task(self._server.announce())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        announcing.cancel()
        await self._server.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        if body is None or self._server is None:
            return
        headers = dict(scope["headers"])
        if headers.get(b"content-type", b"").startswith(b"application/grpc"):
            await _send_grpc(await self._server.grpc.answer(scope["path"], headers, body), send)
        else:
            target = scope["raw_path"].decode("latin-1")
            if scope["query_string"]:
                target += "?" + scope["query_string"].decode("latin-1")
            await _send_rest(await self._server.rest.answer(scope["method"], target, headers, body), send)


async def _body(receive: Receive) -> bytes | None:
    """The whole request body; None when the client went away first."""
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts = [body]
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
    return b"".join(parts)


async def _send_grpc(reply: grpc.Reply, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _GRPC_HEADERS, "trailers": True})
    await send({"type": "http.response.body", "body": reply.body})
    await send({"type": "http.response.trailers", "headers": reply.trailers, "more_trailers": False})


async def _send_rest(reply: rest.Reply, send: Send) -> None:
    headers = [(b"content-type", reply.content_type), (b"content-length", b"%d" % len(reply.body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def _application() -> Application:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname).1s %(message)s")
    return Application(server_flags.parse(json.loads(os.environ[server_flags.FLAGS_VARIABLE])).flags)


def __getattr__(name: str) -> Application:
    if name == "application":
        globals()[name] = _application()
        made: Application = globals()[name]
        return made
    raise AttributeError(name)
