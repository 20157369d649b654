"""One stream of an HTTP/2 connection: a request, and its response as the client's windows allow it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from tfsctl.server.http import frames
from tfsctl.server.http.exchange import NO_BODY, SMALL_RESPONSE_BYTES, Exchange, Pairs, Tasks
from tfsctl.server.http.frames import ErrorCode
from tfsctl.server.http.http2_sending import Sender
from tfsctl.server.http.listener_state import ListenerState
from tfsctl.server.http.request_head import RequestHead
from tfsctl.server.memory_budget import SMALL_BODY_BYTES

CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024
"""For the requests of all streams, which hold no more than their own windows allow."""
STREAM_WINDOW_BYTES = SMALL_BODY_BYTES
"""Of each stream at first. It grows by the memory that is reserved for the body, as soon as the body shows its size."""
_MAX_AT_ONCE_BYTES = 1024 * 1024  # of one response, before the other streams have their turn
_PROGRESS_BYTES = 64 * 1024  # sent at once, they show that the client reads


class StreamOwner(Protocol):
    """The connection of a stream."""

    state: ListenerState
    loop: asyncio.AbstractEventLoop
    port: int | None
    heard_s: float
    out: Sender

    @property
    def is_local(self) -> bool:
        """Whether the client is known to run on this machine."""

    def return_credit(self, size: int) -> None:
        """Let the client send that many bytes more on the connection."""

    def rst_stream(self, number: int, code: ErrorCode) -> bytes:
        """The RST_STREAM frame for a stream whose client may still be sending."""

    def on_done(self, stream: Stream, unconsumed: int) -> None:
        """The application is done with the stream, and has left that many bytes of the body."""


class Stream(Exchange):
    """A request and its response.

    Attributes:
        number: the stream's number.
        credit: what the client has granted of its window beyond the connection's `initial_window`, less what was sent.
        window: how much of the request's body the client may still send.
        is_over: whether nothing more is sent or received.
        started_s: when the request began, in the event loop's time.
    """

    __slots__ = (
        "_body_left",
        "_end",
        "_out",
        "_owner",
        "_pending",
        "_progress_s",
        "_sent",
        "_unreturned_credit",
        "credit",
        "is_over",
        "number",
        "started_s",
        "window",
    )

    def __init__(self, owner: StreamOwner, number: int, head: RequestHead) -> None:
        super().__init__(owner.loop, owner.state.budget, owner, owner.port, head.method, head.target, head.headers)
        self._owner, self._out = owner, owner.out
        self.number = number
        self._body_left = head.length
        self.credit = 0
        self.window = STREAM_WINDOW_BYTES
        self._unreturned_credit = 0  # consumed, but not yet announced with WINDOW_UPDATE
        self.is_over = False
        self.started_s = owner.heard_s
        self._pending: list[memoryview] = []  # of the response's body, for when the client takes more
        self._end = b""  # the frames after that
        self._sent: asyncio.Future[None] | None = None
        self._progress_s = 0.0  # when a part of what is pending was last sent

    def on_served(self) -> None:
        """The application is done. A client without a whole response gets RST_STREAM, and the connection stays open."""
        if not self.is_over:
            self.reset(ErrorCode.INTERNAL_ERROR)
        unconsumed, self._unconsumed = self._unconsumed, 0
        super().on_served()
        self._owner.on_done(self, unconsumed)

    def receive(self, data: bytes) -> None:
        """Take the next part of the body."""
        if self._body_left is not None:
            self._body_left -= len(data)
            if self._body_left < 0:
                self.reset(ErrorCode.PROTOCOL_ERROR)  # more than its Content-Length
        self.add(data)

    def receive_padding(self, size: int) -> None:
        """Take bytes that count for flow control only."""
        self._owner.return_credit(size)
        self._return_credit(size)

    def end_request(self) -> None:
        """The body is complete."""
        if self._body_left:
            self.reset(ErrorCode.PROTOCOL_ERROR)  # less than its Content-Length
            return
        self.end()

    def _on_consumed(self, size: int) -> None:
        self._owner.return_credit(size)
        if self.is_streaming:  # otherwise the window grows by memory that is reserved
            self._return_credit(size)

    def on_memory_granted(self, size: int) -> None:
        """Let the client send `size` more bytes of the body."""
        self._return_credit(size, at_least=0)

    def _return_credit(self, size: int, *, at_least: int = STREAM_WINDOW_BYTES // 2) -> None:
        """Let the client send `size` more bytes.

        They are collected until a WINDOW_UPDATE has `at_least` bytes, or the window is smaller than that.
        """
        self._unreturned_credit += size
        is_due = self._unreturned_credit >= at_least or self.window < at_least
        if is_due and self._error is None and not (self.is_over or self.has_all):
            self._out.write(frames.window_update(self.number, self._unreturned_credit))
            self.window += self._unreturned_credit
            self._unreturned_credit = 0

    def reset(self, code: ErrorCode) -> None:
        """End the stream with RST_STREAM."""
        if not self.is_over:
            self._out.write(self._owner.rst_stream(self.number, code))
        self.cancel()

    def abort(self) -> None:
        """Give the exchange up: the client gets RST_STREAM."""
        self.reset(ErrorCode.CANCEL)

    def cancel(self) -> None:
        """The client has left, or the stream was reset."""
        self.is_over = True
        self._pending.clear()
        self._wake_sender()
        super().cancel()
        if self.task is not None:
            self._owner.state.tasks.cancel(self.task)

    @property
    def is_local(self) -> bool:
        """Whether the client is known to run on this machine."""
        return self._owner.is_local

    @property
    def _tasks(self) -> Tasks:
        return self._owner.state.tasks

    def respond(self, status: int, headers: Pairs, body: bytes, trailers: Pairs = ()) -> None:
        """Send a whole small response to a request that was served without a task, and end the exchange."""
        if trailers and self._reply_at_once(status, headers, body, trailers):
            self._owner.state.tasks.end(self)
        else:
            super().respond(status, headers, body, trailers)

    def _reply_at_once(self, status: int, headers: Pairs, body: bytes, trailers: Pairs) -> bool:
        """Send a whole response if it has a small body, and the client's windows allow it. Returns whether it did."""
        out, size = self._out, len(body)
        if not 0 < size <= SMALL_RESPONSE_BYTES or size > out.frame_bytes or self.is_over or self.method == "HEAD":
            return False
        if size > out.window or size > out.initial_window + self.credit or out.is_paused or out.has_table_update:
            return False
        self.credit -= size
        out.window -= size
        self._finish(frames.whole_response(self.number, status, headers, body, trailers))
        return True

    async def reply(self, status: int, headers: Pairs, body: bytes, trailers: Pairs = ()) -> None:
        """Send a whole response, in one piece if the client's windows allow it.

        Raises BudgetExceededError, before anything is sent, if the memory budget does not allow the response.
        """
        if self.is_over or (trailers and self._reply_at_once(status, headers, body, trailers)):
            return
        out, number = self._out, self.number
        size = 0 if self.method == "HEAD" else len(body)
        room = min(out.initial_window + self.credit, out.window, out.frame_bytes)
        if size > SMALL_RESPONSE_BYTES:
            self.charge_response(size)
        if not trailers and status not in NO_BODY:
            headers = (*headers, (b"content-length", b"%d" % len(body)))
        start = out.header_frames(number, status, headers, ends=not size and not trailers)
        end = out.header_frames(number, 0, trailers, ends=True) if trailers else b""
        if not size:
            self._finish(start + end)
        elif size <= room and not out.is_paused:
            self.credit -= size
            out.window -= size
            data = frames.head(size, frames.DATA, 0 if trailers else frames.END_STREAM, number)
            self._finish(b"".join((start, data, body, end)))
        else:
            out.write(start)
            self._end = end or frames.frame(frames.DATA, frames.END_STREAM, number)
            await self._send(body)
        if size > SMALL_RESPONSE_BYTES:
            await out.until_writable()

    def start(self, status: int, headers: Pairs) -> None:
        """Begin a response whose body is sent in parts."""
        if not self.is_over:
            self._out.write(self._out.header_frames(self.number, status, headers, ends=False))

    async def write(self, data: bytes) -> None:
        """Send a part of the body."""
        if not self.is_over:
            await self._send(data)

    async def finish(self, trailers: Pairs) -> None:
        """End a response that was sent in parts."""
        if not self.is_over:
            self._finish(self._out.header_frames(self.number, 0, trailers, ends=True))

    async def _send(self, data: bytes) -> None:
        """Send data as the client takes it; returns when all is written."""
        self._pending.append(memoryview(data))
        if self._out.is_paused or not self.send_more():
            self._progress_s = self._loop.time()
            self.wait_for_turn()
            self._sent = self._loop.create_future()
            await self._sent

    def is_stalled(self, now_s: float, longest_s: float) -> bool:
        """Whether the client's windows have allowed nothing of the pending data for longer than `longest_s`."""
        return bool(self._pending) and now_s - self._progress_s > longest_s

    def wait_for_turn(self) -> None:
        """Register with the sender if only the connection holds this stream up, not its own window."""
        if self._pending and self._out.initial_window + self.credit > 0:
            self._out.block(self)

    def send_more(self) -> bool:
        """Send what the windows allow now, up to a bound. Returns whether that was everything."""
        out = self._out
        parts: list[bytes | memoryview] = []
        room = sent = min(out.initial_window + self.credit, out.window, _MAX_AT_ONCE_BYTES)
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
            if sent >= _PROGRESS_BYTES or not self._pending:
                self._progress_s = self._loop.time()
        if self._pending:
            return False
        if self._end:
            self._finish(self._end)
        self._wake_sender()
        return True

    def _finish(self, last: bytes) -> None:
        """Send the end of the response. A client that is still sending is asked to stop with RST_STREAM."""
        self.is_over = True
        if not self.has_all:
            last += self._owner.rst_stream(self.number, ErrorCode.NO_ERROR)
        self._out.write(last)

    def _wake_sender(self) -> None:
        sent, self._sent = self._sent, None
        if sent is not None and not sent.done():
            sent.set_result(None)
