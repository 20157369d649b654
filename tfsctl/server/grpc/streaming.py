"""Streaming gRPC calls: the client's messages as they come, answers as they are made."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

from tfsctl.server.grpc.framing import RESPONSE_HEADERS, GrpcResponse, frame, unframe
from tfsctl.server.http.exchange import ClientGoneError, Exchange
from tfsctl.server.status import Code, ServingError

log = logging.getLogger(__name__)

Handler = Callable[["Call"], Coroutine[Any, Any, None]]

_MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # what asks about health or services is small


class Call:
    """One streaming call."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def messages(self) -> AsyncIterator[bytes]:
        """The client's messages, until it has said its last.

        Raises ClientGoneError when it leaves, RESOURCE_EXHAUSTED for a message of more than 4 MiB.
        """
        pending = b""
        while part := await self._exchange.part():
            pending += part
            while len(pending) >= 5:
                end = 5 + int.from_bytes(pending[1:5], "big")
                if end > _MAX_MESSAGE_BYTES:
                    raise ServingError(
                        Code.RESOURCE_EXHAUSTED,
                        f"Received message larger than max ({end - 5} vs. {_MAX_MESSAGE_BYTES})",
                    )
                if len(pending) < end:
                    break
                framed, pending = pending[:end], pending[end:]
                yield unframe(self._exchange.headers, framed)
        if pending:
            raise ServingError(Code.INTERNAL, "The request ended before its message")

    async def send(self, message: bytes) -> None:
        """Send one message to the client."""
        await self._exchange.write(frame(message))

    async def until_client_leaves(self) -> None:
        """Return when the client has gone away."""
        await self._exchange.gone()


class Streams:
    """The streaming methods of a server, by path, and the calls of them that are open."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._ending = asyncio.Event()

    def __contains__(self, path: str) -> bool:
        return path in self._handlers

    def end(self) -> None:
        """End the open calls: a client that watches would hold up the end of the server for as long as it likes."""
        self._ending.set()

    async def serve(self, exchange: Exchange) -> None:
        """Serve one call; a ServingError of its handler becomes its status. Raises ClientGoneError."""
        exchange.start(200, RESPONSE_HEADERS)
        call = asyncio.ensure_future(self._handlers[exchange.target](Call(exchange)))
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait((call, ending), return_when=asyncio.FIRST_COMPLETED)
            status = await self._status(call)
        finally:
            ending.cancel()
            call.cancel()
        await exchange.finish(status.trailers)

    async def _status(self, call: asyncio.Future[None]) -> GrpcResponse:
        if not call.done():
            return GrpcResponse(b"", Code.UNAVAILABLE, "The server is shutting down")
        try:
            await call
        except ClientGoneError:
            raise
        except ServingError as error:
            return GrpcResponse(b"", error.code, error.message)
        except Exception as error:  # the one door for bugs: a status, never a broken stream
            log.exception("Streaming call failed")
            return GrpcResponse(b"", Code.INTERNAL, f"{type(error).__name__}: {error}")
        return GrpcResponse(b"")
