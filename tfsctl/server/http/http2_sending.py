"""Sends the frames of one HTTP/2 connection as far as the client's flow-control windows allow, each stream in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from tfsctl.server.http import frames
from tfsctl.server.http.exchange import Pairs
from tfsctl.server.http.frames import ConnectionFailedError, ErrorCode


class SendingStream(Protocol):
    """A stream as the sender sees it.

    `credit` is what the client has granted of the stream's window beyond the connection's `initial_window`, less what
    was sent.
    """

    number: int
    credit: int
    is_over: bool

    def send_more(self) -> bool:
        """Send what the windows allow now. Returns whether that was everything."""

    def wait_for_turn(self) -> None:
        """Register with the sender if only the connection holds the stream up."""

    def reset(self, code: ErrorCode) -> None:
        """Send RST_STREAM."""


class Sender:
    """The client's settings and windows, and the streams that wait for them."""

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, streams: Mapping[int, SendingStream]) -> None:
        self._loop = loop
        self._streams = streams
        self.window = self.initial_window = frames.DEFAULT_WINDOW
        self.frame_bytes = frames.DEFAULT_FRAME_BYTES
        self.is_paused = False  # the client does not read
        self._largest_credit = 0  # of any stream
        self.has_table_update = False  # the next header block begins with one
        self.blocked: dict[int, SendingStream] = {}  # by number: streams that only the connection holds up, in turn
        self._pump_is_due = self._review_is_due = False
        self._writable: list[asyncio.Future[None]] = []

    def write(self, data: bytes) -> None:
        """Send bytes, if the client is still there."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def write_many(self, parts: list[bytes | memoryview]) -> None:
        """Send large parts, without joining them."""
        if not self.transport.is_closing():
            self.transport.writelines(parts)

    def pause(self) -> None:
        """The client does not read."""
        self.is_paused = True

    def resume(self) -> None:
        """The client reads again."""
        self.is_paused = False
        self._wake_writers()
        self.pump()

    async def until_writable(self) -> None:
        """Return when the client reads its responses, or has disconnected."""
        if self.is_paused and not self.transport.is_closing():
            writable = self._loop.create_future()
            self._writable.append(writable)
            await writable

    def _wake_writers(self) -> None:
        writers, self._writable = self._writable, []
        for writable in writers:
            if not writable.done():
                writable.set_result(None)

    def block(self, stream: SendingStream) -> None:
        """Remember a stream that has more to send than the connection's window allows now."""
        self.blocked[stream.number] = stream
        if self.window > 0 and not self.is_paused:
            self._pump_soon()

    def header_frames(self, number: int, status: int, headers: Pairs, *, ends: bool) -> bytes:
        """The frames of a header block; status 0 is for trailers."""
        block = frames.header_block(status, headers)
        if self.has_table_update:
            block, self.has_table_update = frames.NO_TABLE + block, False
        return frames.header_frames(number, block, ends=ends, limit=self.frame_bytes)

    def apply_setting(self, name: int, value: int) -> None:
        """Apply a setting of the client. Raises ConnectionFailedError for a value that is not allowed."""
        if name == frames.INITIAL_WINDOW_SIZE:
            self.initial_window = value
            self._review_soon()
            if value + self._largest_credit > frames.MAX_WINDOW:
                self._largest_credit = max((stream.credit for stream in self._streams.values()), default=0)
                if value + max(0, self._largest_credit) > frames.MAX_WINDOW:
                    raise ConnectionFailedError(ErrorCode.FLOW_CONTROL_ERROR, f"an initial window of {value}")
        elif name == frames.MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME_BYTES <= value <= frames.MAX_FRAME_BYTES:
                raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, f"frames of {value} bytes")
            self.frame_bytes = min(value, frames.OUR_FRAME_BYTES)
        elif name == frames.ENABLE_PUSH and value > 1:
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH {value}")
        elif name == frames.HEADER_TABLE_SIZE and value < frames.DEFAULT_TABLE_BYTES:
            self.has_table_update = True  # RFC 7541, section 4.2: announced, though the table is never used

    def open_window(self, number: int, size: int) -> None:
        """WINDOW_UPDATE: the client takes `size` more bytes of one stream or, for stream 0, of all."""
        if number == 0:
            self.window += size
            if not size or self.window > frames.MAX_WINDOW:
                code = ErrorCode.FLOW_CONTROL_ERROR if size else ErrorCode.PROTOCOL_ERROR
                raise ConnectionFailedError(code, "a window beyond its sizes")
            self.pump()
            return
        stream = self._streams.get(number)
        if stream is None or stream.is_over:
            return
        stream.credit += size
        if not size or self.initial_window + stream.credit > frames.MAX_WINDOW:
            stream.reset(ErrorCode.FLOW_CONTROL_ERROR if size else ErrorCode.PROTOCOL_ERROR)
            return
        self._largest_credit = max(self._largest_credit, stream.credit)
        stream.wait_for_turn()
        self.pump()

    def _review_soon(self) -> None:
        if not self._review_is_due:
            self._review_is_due = True
            self._loop.call_soon(self._review)

    def _review(self) -> None:
        """Let the streams that waited for larger windows go on."""
        self._review_is_due = False
        for stream in list(self._streams.values()):
            stream.wait_for_turn()
        self.pump()

    def _pump_soon(self) -> None:
        """Let the streams that wait go on when the event loop has served the other connections."""
        if not self._pump_is_due:
            self._pump_is_due = True
            self._loop.call_soon(self.pump)

    def pump(self) -> None:
        """Let waiting streams send as much as the windows allow, in turn."""
        self._pump_is_due = False
        for number, stream in list(self.blocked.items()):
            if self.is_paused or self.window <= 0:
                return
            del self.blocked[number]
            if not stream.send_more():
                stream.wait_for_turn()  # behind the others
        if self.blocked:
            self._pump_soon()

    def forget(self, number: int) -> None:
        """The stream of that number has nothing more to send."""
        self.blocked.pop(number, None)

    def clear(self) -> None:
        """The client has left: stop sending."""
        self.blocked.clear()
        self._wake_writers()
