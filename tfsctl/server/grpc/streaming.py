"""Streaming gRPC calls (reflection, health): the client's messages as they arrive, responses as they are made.

A call takes a message only after its response to the one before was written, and the client may send more only as
messages are taken: a client that reads nothing cannot pile up anything here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

from google.protobuf.message import DecodeError

from tfsctl.server.grpc.framing import BAD_MESSAGE, RESPONSE_HEADERS, GrpcResponse, frame, unframe
from tfsctl.server.http.exchange import Exchange
from tfsctl.server.http.timeouts import within
from tfsctl.server.limits import KIB
from tfsctl.server.request_body import GRPC_PREFIX_BYTES, ClientGoneError
from tfsctl.server.status import Code, ServingError

log = logging.getLogger(__name__)

Handler = Callable[["StreamingCall"], Coroutine[Any, Any, None]]

_MAX_MESSAGE_BYTES = 64 * KIB  # questions about health or services are small; the event loop reads and answers them
_MESSAGES_PER_ITERATION = 16  # of one call, before the event loop serves other clients


class StreamingCall:
    """One streaming call. `idle_timeout_s` is how long it waits for the client's next message."""

    def __init__(self, exchange: Exchange, idle_timeout_s: float | None) -> None:
        self._exchange = exchange
        self._idle_timeout_s = idle_timeout_s

    async def messages(self) -> AsyncIterator[bytes]:
        """The client's messages, up to its last.

        Raises ClientGoneError if the client leaves, and ServingError: RESOURCE_EXHAUSTED for a message of more than
        64 KiB, DEADLINE_EXCEEDED if the client sends nothing for too long.
        """
        pending = bytearray()
        taken = 0
        while part := await self._next_part():
            pending += part
            at = 0
            while (end := self._message_end(pending, at)) is not None:
                framed, at = bytes(pending[at:end]), end
                yield unframe(self._exchange.headers, framed, _MAX_MESSAGE_BYTES)
                taken += 1
                if taken % _MESSAGES_PER_ITERATION == 0:
                    await asyncio.sleep(0)
                if self._exchange.is_gone:
                    raise ClientGoneError
            del pending[:at]
        if pending:
            raise ServingError(Code.INTERNAL, "The request ended before its message")

    async def _next_part(self) -> bytes:
        try:
            return await within(self._idle_timeout_s, self._exchange.part())
        except asyncio.TimeoutError:
            raise ServingError(Code.DEADLINE_EXCEEDED, "The client sent no message for too long") from None

    @staticmethod
    def _message_end(pending: bytearray, at: int) -> int | None:
        """Where the message that begins at `at` ends; None if its end has not arrived. Raises RESOURCE_EXHAUSTED."""
        if len(pending) - at < GRPC_PREFIX_BYTES:
            return None
        size = int.from_bytes(pending[at + 1 : at + GRPC_PREFIX_BYTES], "big")
        if size > _MAX_MESSAGE_BYTES:
            raise ServingError(
                Code.RESOURCE_EXHAUSTED, f"Received message larger than max ({size} vs. {_MAX_MESSAGE_BYTES})"
            )
        end = at + GRPC_PREFIX_BYTES + size
        return end if end <= len(pending) else None

    async def send(self, message: bytes) -> None:
        """Send one message to the client. Returns when the client's window has taken it."""
        await self._exchange.write(frame(message))

    async def until_client_leaves(self) -> None:
        """Return when the client has left."""
        await self._exchange.until_gone()


class StreamingMethods:
    """The streaming methods of a server, by path, and their calls that are open."""

    def __init__(self, handlers: Mapping[str, Handler], *, idle_timeout_s: float | None = None) -> None:
        self.handlers = handlers
        """By path."""
        self._idle_timeout_s = idle_timeout_s
        self._ending = asyncio.Event()

    def end(self) -> None:
        """End the open calls. A call of Watch would otherwise delay the server's end until its client leaves."""
        self._ending.set()

    async def serve(self, exchange: Exchange) -> None:
        """Serve one call; a ServingError of its handler becomes its status. Raises ClientGoneError."""
        exchange.start(200, RESPONSE_HEADERS)
        call = asyncio.ensure_future(self.handlers[exchange.target](StreamingCall(exchange, self._idle_timeout_s)))
        call.add_done_callback(_retrieve)
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
        except DecodeError:
            return GrpcResponse(b"", Code.INTERNAL, BAD_MESSAGE)
        except Exception as error:  # the outermost handler of bugs: a status instead of a broken stream
            log.exception("Streaming call failed")
            return GrpcResponse(b"", Code.INTERNAL, f"{type(error).__name__}: {error}")
        return GrpcResponse(b"")


def _retrieve(call: asyncio.Future[None]) -> None:
    """Look at the exception of a call whose client may have left: asyncio logs those that nobody looks at."""
    if not call.cancelled():
        call.exception()
