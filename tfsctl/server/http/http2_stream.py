"""One stream of an HTTP/2 connection: a request, and the answer as the client's windows let it out."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tfsctl.server.http import frames
from tfsctl.server.http.exchange import Exchange, Message
from tfsctl.server.http.frames import ErrorCode

if TYPE_CHECKING:
    from tfsctl.server.http.header_blocks import Head
    from tfsctl.server.http.http2 import Http2Connection

log = logging.getLogger(__name__)

_MAX_AT_ONCE_BYTES = 1024 * 1024  # of one answer, before the other streams have their turn


class Stream(Exchange):
    """A request and its answer."""

    __slots__ = (
        "_connection",
        "_has_body_left",
        "_head",
        "_held",
        "_left_bytes",
        "_pending",
        "_sent",
        "_trailers_follow",
        "is_over",
        "number",
        "received",
        "task",
        "window",
    )

    def __init__(self, connection: Http2Connection, number: int, head: Head, window: int) -> None:
        super().__init__(connection.loop)
        self._connection = connection
        self.number = number
        self._head = head
        self._left_bytes = head.length
        self.window = window
        """What the client takes of the answer."""
        self.received = 0
        """What the client was not given back of its own window."""
        self.is_over = False
        """Nothing more is sent or taken."""
        self.task: asyncio.Task[None] | None = None
        self._held = b""  # frames that go out with the next ones
        self._trailers_follow = False
        self._pending: list[memoryview] = []  # of the body
        self._has_body_left = True
        self._sent: asyncio.Future[None] | None = None

    async def serve(self) -> None:
        """Let the application answer."""
        connection = self._connection
        try:
            await connection.site.application(connection.scope(self._head), self.receive, self.send)
        except Exception:  # the one door for bugs: the client is told, and the connection goes on
            log.exception("A request failed: %s", self._head.path)
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
            self._connection.write(self._connection.cut_short(self.number, code))
        self.leave()

    def leave(self) -> None:
        """The client has left, or was sent away."""
        self.is_over = True
        self._pending.clear()
        self._wake_sender()
        super().leave()

    # ---- the answer ----
    async def send(self, message: Message) -> None:
        """Take one event of the answer; returns when what came before the last one is on its way."""
        if self.is_over:
            return
        kind = message["type"]
        if kind == "http.response.start":
            self._trailers_follow = message.get("trailers", False)
            block = frames.block(message["status"], tuple(message["headers"]))
            limit = self._connection.frame_bytes
            self._held = frames.header_frames(self.number, block, ends=False, limit=limit)
            return
        if kind == "http.response.body":
            more = message.get("more_body", False)
            self._send_body(message.get("body", b""), is_last=not more, holds=not more and self._trailers_follow)
        elif kind == "http.response.trailers":
            block = frames.block(0, tuple(message["headers"]))
            trailers = frames.header_frames(self.number, block, ends=True, limit=self._connection.frame_bytes)
            self._held += trailers
            if not self._pending:
                self._finish()
        if self._pending:
            self._sent = self._loop.create_future()
            await self._sent

    def _send_body(self, body: bytes, *, is_last: bool, holds: bool) -> None:
        """Send a part of the body, `is_last` for the last, `holds` if its frames should wait for the trailers."""
        connection, size = self._connection, len(body)
        ends = is_last and not self._trailers_follow
        if self._head.method == "HEAD":
            body, size = b"", 0
        room = 0 if connection.is_paused else min(self.window, connection.window, connection.frame_bytes)
        if size <= room or not size:
            flags = frames.END_STREAM if ends else 0
            self._held += frames.head(size, frames.DATA, flags, self.number) + body if size or ends else b""
            self.window -= size
            connection.window -= size
            if ends:
                self._finish()
            elif not holds:
                connection.write(self._held)
                self._held = b""
            return
        connection.write(self._held)
        self._held = b""
        self._pending.append(memoryview(body))
        if ends:
            self._held = frames.frame(frames.DATA, frames.END_STREAM, self.number)
        self._has_body_left = not is_last
        if connection.is_paused or not self.send_more():
            connection.block(self)

    def send_more(self) -> bool:
        """Send what the windows take now, up to a bound; whether that was all there is."""
        connection = self._connection
        parts: list[bytes | memoryview] = []
        room = min(self.window, connection.window, _MAX_AT_ONCE_BYTES)
        while room > 0 and self._pending:
            first = self._pending[0]
            size = min(len(first), room, connection.frame_bytes)
            parts += (frames.head(size, frames.DATA, 0, self.number), first[:size])
            if size == len(first):
                self._pending.pop(0)
            else:
                self._pending[0] = first[size:]
            self.window -= size
            connection.window -= size
            room -= size
        if parts:
            connection.write_many(parts)
        if self._pending:
            if self.window > 0 and connection.window > 0 and not connection.is_paused:
                connection.pump_soon()
            return False
        self._wake_sender()
        if not self._has_body_left and self._held:
            self._finish()
        return True

    def _finish(self) -> None:
        """Send the end of the answer. A client that is still sending is told to stop."""
        self.is_over = True
        if not self.has_all:
            self._held += self._connection.cut_short(self.number, ErrorCode.NO_ERROR)
        self._connection.write(self._held)
        self._held = b""

    def _wake_sender(self) -> None:
        sent, self._sent = self._sent, None
        if sent is not None and not sent.done():
            sent.set_result(None)
