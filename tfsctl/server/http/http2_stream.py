"""One stream of an HTTP/2 connection: a request, and the answer as the client's windows let it out."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tfsctl.server.http import frames
from tfsctl.server.http.exchange import NO_BODY, Exchange, Pairs
from tfsctl.server.http.frames import ErrorCode

if TYPE_CHECKING:
    from tfsctl.server.http.hpack_cache import Head
    from tfsctl.server.http.http2 import Http2Connection

log = logging.getLogger(__name__)

_MAX_AT_ONCE_BYTES = 1024 * 1024  # of one answer, before the other streams have their turn


class Stream(Exchange):
    """A request and its answer."""

    __slots__ = (
        "_connection",
        "_end",
        "_left_bytes",
        "_out",
        "_pending",
        "_sent",
        "credit",
        "is_over",
        "number",
        "received",
        "task",
    )

    def __init__(self, connection: Http2Connection, number: int, head: Head) -> None:
        super().__init__(connection.loop, connection.port, head.method, head.target, head.path, head.headers)
        self._connection, self._out = connection, connection.out
        self.number = number
        self._left_bytes = head.length
        self.credit = 0
        """What the client takes of the answer, beyond the connection's `initial_window`."""
        self.received = 0
        """What the client was not given back of its own window."""
        self.is_over = False
        """Nothing more is sent or taken."""
        self.task: asyncio.Task[None] | None = None
        self._pending: list[memoryview] = []  # of the body, for when the client takes more
        self._end = b""  # the frames after that
        self._sent: asyncio.Future[None] | None = None

    async def serve(self) -> None:
        """Let the application answer."""
        connection = self._connection
        try:
            await connection.site.application(self)
        except Exception:  # the one door for bugs: the client is told, and the connection goes on
            log.exception("A request failed: %s", self.path)
        finally:
            if not self.is_over:
                self.reset(ErrorCode.INTERNAL_ERROR)
            connection.forget(self)

    # ---- the request ----
    def take(self, data: bytes) -> None:
        """The next part of the body."""
        if self._left_bytes is not None:
            self._left_bytes -= len(data)
            if self._left_bytes < 0:
                self.reset(ErrorCode.PROTOCOL_ERROR)
                return
        self.add(data)

    def end_request(self) -> None:
        """The body is complete."""
        if self._left_bytes:
            self.reset(ErrorCode.PROTOCOL_ERROR)  # less than its Content-Length
        else:
            self.end()

    def reset(self, code: ErrorCode) -> None:
        """Break it off."""
        if not self.is_over:
            self._out.write(self._connection.cut_short(self.number, code))
        self.leave()

    def leave(self) -> None:
        """The client has left, or was sent away."""
        self.is_over = True
        self._pending.clear()
        self._wake_sender()
        super().leave()
        if self.task is not None:
            self._connection.site.canceller.cancel(self.task)

    @property
    def client(self) -> object:
        """The connection."""
        return self._connection

    # ---- the answer ----
    async def reply(self, status: int, headers: Pairs, body: bytes, trailers: Pairs = ()) -> None:
        """Send a whole answer, in one piece where the client takes it."""
        if self.is_over:
            return
        out, number = self._out, self.number
        size = 0 if self.method == "HEAD" else len(body)
        if not trailers and status not in NO_BODY:
            headers = (*headers, (b"content-length", b"%d" % len(body)))
        start = out.headers(number, status, headers, ends=not size and not trailers)
        end = out.headers(number, 0, trailers, ends=True) if trailers else b""
        if not size:
            self._finish(start + end)
        elif size <= out.frame_bytes and size <= self._room() and not out.is_paused:
            self.credit -= size
            out.window -= size
            data = frames.head(size, frames.DATA, 0 if trailers else frames.END_STREAM, number)
            self._finish(b"".join((start, data, body, end)))
        else:
            out.write(start)
            self._end = end or frames.frame(frames.DATA, frames.END_STREAM, number)
            await self._send(body)

    def start(self, status: int, headers: Pairs) -> None:
        """Begin an answer whose body comes in parts."""
        if not self.is_over:
            self._out.write(self._out.headers(self.number, status, headers, ends=False))

    async def write(self, data: bytes) -> None:
        """Send a part of the body."""
        if not self.is_over:
            await self._send(data)

    async def finish(self, trailers: Pairs) -> None:
        """End an answer that came in parts."""
        if not self.is_over:
            self._finish(self._out.headers(self.number, 0, trailers, ends=True))

    async def _send(self, data: bytes) -> None:
        """Send data as the client takes it; returns when all is on its way."""
        self._pending.append(memoryview(data))
        if self._out.is_paused or not self.send_more():
            self.wait_for_turn()
            self._sent = self._loop.create_future()
            await self._sent

    def wait_for_turn(self) -> None:
        """Where only the connection holds it up, let it tell when there is room. The client's windows tell themselves."""
        if self._pending and self._out.initial_window + self.credit > 0:
            self._out.block(self)

    def send_more(self) -> bool:
        """Send what the windows take now, up to a bound; whether that was all there is."""
        out = self._out
        parts: list[bytes | memoryview] = []
        room = sent = min(self._room(), _MAX_AT_ONCE_BYTES)
        while room > 0 and self._pending:
            first = self._pending[0]
            size = min(len(first), room, out.frame_bytes)
            parts += (frames.head(size, frames.DATA, 0, self.number), first[:size])
            if size == len(first):
                self._pending.pop(0)
            else:
                self._pending[0] = first[size:]
            room -= size
        if parts:
            sent -= room
            self.credit -= sent
            out.window -= sent
            out.write_many(parts)
        if self._pending:
            return False
        if self._end:
            self._finish(self._end)
        self._wake_sender()
        return True

    def _room(self) -> int:
        """What the client takes now."""
        out = self._out
        return min(out.initial_window + self.credit, out.window)

    def _finish(self, last: bytes) -> None:
        """Send the end of the answer. A client that is still sending is told to stop."""
        self.is_over = True
        end = b"" if self.has_all else self._connection.cut_short(self.number, ErrorCode.NO_ERROR)
        self._out.write(last + end)

    def _wake_sender(self) -> None:
        sent, self._sent = self._sent, None
        if sent is not None and not sent.done():
            sent.set_result(None)
