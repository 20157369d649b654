"""One HTTP/2 connection (RFC 9113): its streams, its flow control for requests, its timeouts and its end."""

from __future__ import annotations

import asyncio
from typing import cast

from tfsctl.server.config.addresses import is_on_this_machine
from tfsctl.server.held_bytes import HeldBytes
from tfsctl.server.http import frames
from tfsctl.server.http.frame_reader import FrameReader
from tfsctl.server.http.frames import ConnectionFailedError, ErrorCode
from tfsctl.server.http.hpack_cache import HeaderBlockReader, MalformedRequestError
from tfsctl.server.http.http2_sending import Sender
from tfsctl.server.http.http2_stream import CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, Stream
from tfsctl.server.http.listener_state import ListenerState
from tfsctl.server.http.timeouts import Linger, WriteStall, arrives_too_slowly
from tfsctl.server.limits import Limits
from tfsctl.server.memory_budget import BudgetExceededError
from tfsctl.server.request_body import BodyTimeoutError

_REMEMBERED_RESETS = 4096
_FEW_FRAMES_BYTES, _MANY_FRAMES_BYTES = 2048, 32 * 1024  # one or two small requests; parts of large ones
_READ_WORK = 4  # a read of more than a few frames counts like the beginning of that many requests
_LARGE_BLOCK_BYTES = 4096  # header blocks and incomplete frames from here on are counted in the memory budget


class Http2Connection(asyncio.Protocol):
    """One client's connection, with as many concurrent requests as the limits allow."""

    def __init__(self, state: ListenerState, limits: Limits, port: int | None, peer: str) -> None:
        self.state, self.loop, self.port, self._peer = state, state.loop, port, peer
        self._limits = limits
        self._frames = FrameReader(self, limits.max_header_bytes)
        self._blocks = HeaderBlockReader(
            limits.max_header_bytes, limits.max_header_count, cache_heads=limits.cache_requests
        )
        self._streams: dict[int, Stream] = {}
        self.out = Sender(state.loop, self._streams)
        self._new_streams: list[Stream] = []  # opened by the frames that are being read, and not started yet
        self._last_stream = self._requests = 0
        self._window = CONNECTION_WINDOW_BYTES  # how much DATA the client may still send
        self._unreturned_credit = 0  # consumed, but not yet announced with WINDOW_UPDATE
        self._is_closing = False
        self._takes_streams = True
        self._reset_streams: dict[int, None] = {}  # the last streams that we reset: their frames may still arrive
        self._close_announced_s: float | None = None
        self._pinged_s: float | None = None
        self._incomplete_since_s: float | None = None
        self._partial = HeldBytes(state.budget)  # incomplete frames and header blocks
        self._is_yielding = False
        self._linger: Linger | None = None
        self._stall: WriteStall | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the client the server's settings."""
        self._transport = self.out.transport = cast("asyncio.Transport", transport)
        self._opened_s = self.heard_s = self._idle_since_s = self.loop.time()
        settings = {
            frames.MAX_CONCURRENT_STREAMS: self._limits.max_streams,
            frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
            frames.MAX_FRAME_SIZE: frames.OUR_FRAME_BYTES,
            frames.MAX_HEADER_LIST_SIZE: self._limits.max_header_bytes,
        }
        more = CONNECTION_WINDOW_BYTES - frames.DEFAULT_WINDOW
        self._transport.write(frames.settings(settings) + frames.window_update(0, more))
        self.state.connections.add(self)
        if self.state.is_draining:
            self.drain()

    def data_received(self, data: bytes) -> None:
        """Read frames, and serve the requests in them."""
        if self._is_closing:
            if self._linger is not None:
                self._linger.data_received()
            return
        self.heard_s = self.loop.time()
        try:
            size = len(data)
            is_late = False
            if size > _FEW_FRAMES_BYTES:
                turns = self.state.tasks.turns
                turns.count += _READ_WORK
                is_late = turns.is_over()
            has_more = not self._frames.feed(data, is_late=is_late)
            if has_more or (size > _MANY_FRAMES_BYTES and self.state.readers.count_read(size)):
                self._yield_to_loop()
            if self._frames.is_incomplete:
                self._hold_incomplete()
            elif self._incomplete_since_s is not None:
                self._incomplete_since_s = None
                self._partial.resize(0)
        except ConnectionFailedError as error:
            self._fail(error.code, str(error))
            return
        if self._new_streams:
            new_streams, self._new_streams = self._new_streams, []
            is_only = len(self._streams) == 1
            for stream in new_streams:
                if stream.is_gone:
                    stream.on_served()  # it was reset by the bytes that opened it
                else:
                    self.state.tasks.start(stream, is_only=is_only)

    def _hold_incomplete(self) -> None:
        """Note when an incomplete frame or header block began, and count it if it is large."""
        if self._incomplete_since_s is None:
            self._incomplete_since_s = self.heard_s
        held = self._frames.held_bytes
        if held > _LARGE_BLOCK_BYTES and not self._is_yielding:
            try:
                self._partial.resize(held)
            except BudgetExceededError:
                raise ConnectionFailedError(ErrorCode.ENHANCE_YOUR_CALM, "too many incomplete frames") from None

    def _yield_to_loop(self) -> None:
        """Let other connections have their turn before the frames that are left."""
        if not self._is_yielding:
            self._is_yielding = True
            self._transport.pause_reading()
            self.state.readers.wait(self._resume_turn)

    def _resume_turn(self) -> None:
        """Read what was left for this turn of the event loop."""
        self._is_yielding = False
        if not self._is_closing:
            self.data_received(b"")
            self._resume_reading()

    def _resume_reading(self) -> None:
        if not (self._is_yielding or self.out.is_paused or self._transport.is_closing()):
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The client does not read: requests that it sends now would only pile up."""
        self._stall = None  # requests that wait now count from the next check
        self.out.pause()
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.out.resume()
        self._resume_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        """The client has left."""
        self._is_closing = True
        self._partial.resize(0)
        self.state.disconnected(self, self._peer)
        for stream in list(self._streams.values()):
            stream.cancel()
        self.out.clear()
        del self._frames  # it refers to this connection: no cycle for the garbage collector

    def check_timeouts(self, now_s: float) -> None:
        """Close the connection if the client is too slow, or has been idle or connected for too long."""
        limits = self._limits
        if self._is_closing:
            return
        if self._stall is None:
            self._stall = WriteStall(self._transport)
        if self._stall.lasts(now_s, limits.write_stall_timeout_s):
            self.state.recorder.request_rejected("write_stall_timeout")
            self._transport.abort()
            return
        since_s = self._incomplete_since_s
        if since_s is not None and limits.header_timeout_s is not None and now_s - since_s > limits.header_timeout_s:
            self.state.recorder.request_rejected("header_timeout")
            self._fail(ErrorCode.ENHANCE_YOUR_CALM, "a frame or header block took too long")
            return
        self._check_streams(now_s)
        if self._close_announced_s is not None:
            if now_s > self._close_announced_s:
                self._send_goaway()
            return
        is_idle = not self._streams and limits.max_idle_s is not None and now_s - self._idle_since_s > limits.max_idle_s
        if is_idle or (limits.max_age_s is not None and now_s - self._opened_s > limits.max_age_s):
            self._announce_close(now_s)
        elif limits.keepalive_s is not None:
            if self._pinged_s is not None and self._pinged_s > self.heard_s:
                if now_s - self._pinged_s > limits.keepalive_timeout_s:
                    self._transport.abort()
            elif now_s - self.heard_s > limits.keepalive_s:
                self._pinged_s = now_s
                self.out.write(frames.frame(frames.PING, 0, 0, bytes(8)))

    def _check_streams(self, now_s: float) -> None:
        """End requests whose body trickles in, and responses that the client does not read."""
        longest_s = self._limits.write_stall_timeout_s
        for stream in list(self._streams.values()):
            is_arriving = not (stream.has_all or stream.is_streaming)
            if is_arriving and arrives_too_slowly(self._limits, stream, now_s - stream.started_s):
                self.state.recorder.request_rejected("body_timeout")
                stream.refuse_body(BodyTimeoutError())
            if longest_s is not None and stream.is_stalled(now_s, longest_s):
                self.state.recorder.request_rejected("write_stall_timeout")
                stream.reset(ErrorCode.CANCEL)

    def drain(self) -> None:
        """Close the connection after its streams: a first GOAWAY now, the final one at the next check of the timeouts."""
        if self._close_announced_s is None and not self._is_closing:
            self._announce_close(self.loop.time())

    def _announce_close(self, now_s: float) -> None:
        """Send a GOAWAY that names no last stream: streams that the client has already opened are still served."""
        self._close_announced_s = now_s
        self.out.write(frames.goaway(frames.MAX_STREAM, ErrorCode.NO_ERROR))

    def _send_goaway(self) -> None:
        """Send the final GOAWAY: refuse new streams, and close after the last one."""
        if self._takes_streams:
            self._takes_streams = False
            self.out.write(frames.goaway(self._last_stream, ErrorCode.NO_ERROR))
            self._close_if_done()

    def _close_if_done(self) -> None:
        if not self._takes_streams and not self._streams:
            self._is_closing = True
            self._transport.close()

    def close(self) -> None:
        """Close the connection; what is written still reaches the client."""
        if not self._is_closing:
            self._is_closing = True
            self.out.write(frames.goaway(self._last_stream, ErrorCode.NO_ERROR))
        self._transport.close()

    def _fail(self, code: ErrorCode, reason: str) -> None:
        """A connection error: send GOAWAY with the reason, stop reading, and close after the client had time to read it."""
        if self._is_closing:
            return
        self._is_closing = True
        self.state.recorder.request_rejected(f"goaway_{code.name}")
        self._partial.resize(0)
        self.out.write(frames.goaway(self._last_stream, code, reason))
        for stream in list(self._streams.values()):
            stream.cancel()
        for stream in self._new_streams:
            stream.on_served()  # the application never sees it
        transport = self._transport
        if transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()
            self._linger = Linger(self.loop, transport)
        else:
            transport.close()

    def on_data(self, number: int, length: int) -> Stream | None:
        """A DATA frame begins. Returns the stream that receives it, or None if it is dropped. Counts it in the windows."""
        stream = self._streams.get(number)
        if stream is None and self._is_idle(number):
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, f"DATA on stream {number}, which was never opened")
        self._window -= length
        if self._window < 0:
            raise ConnectionFailedError(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the window of the connection")
        if stream is not None and not stream.is_over:
            if not stream.has_all:
                stream.window -= length
                if stream.window >= 0 or self.state.budget.has_room_for_bodies(length):
                    return stream  # simple clients write a whole request without waiting for the window
                stream.reset(ErrorCode.FLOW_CONTROL_ERROR)
            else:
                stream.reset(ErrorCode.STREAM_CLOSED)
        elif number not in self._reset_streams:
            raise ConnectionFailedError(ErrorCode.STREAM_CLOSED, f"DATA on stream {number}, which is closed")
        self.return_credit(length)
        return None

    def on_header_block(self, number: int, block: bytes, flags: int) -> None:
        """A whole header block: a request, or the trailers of one."""
        if number <= self._last_stream:
            self._take_trailers(number, self._blocks.read_trailers(block), flags)
            return
        self._last_stream = number
        try:
            head = self._blocks.read(block)
        except MalformedRequestError as error:
            self.state.recorder.request_rejected("malformed_request")
            self.out.write(self.rst_stream(number, error.code))
            return
        if len(self._streams) >= self._limits.max_streams or not self._takes_streams:
            self.state.recorder.request_rejected("refused_stream")
            self.out.write(self.rst_stream(number, ErrorCode.REFUSED_STREAM))
            return
        stream = Stream(self, number, head)
        if len(block) > _LARGE_BLOCK_BYTES:
            try:
                stream.charge(len(block))
            except BudgetExceededError:
                self.state.recorder.request_rejected("refused_stream")
                self.out.write(self.rst_stream(number, ErrorCode.REFUSED_STREAM))
                return
        self._streams[number] = stream
        self._new_streams.append(stream)
        self._requests += 1
        if self._requests == self._limits.max_requests_per_connection:
            self._announce_close(self.loop.time())
        if flags & frames.END_STREAM:
            stream.end_request()
        elif b"expect" in head.headers and head.headers[b"expect"].lower() == b"100-continue":
            self.out.write(self.out.header_frames(number, 100, (), ends=False))

    def _take_trailers(self, number: int, error: str, flags: int) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.is_over:
            if number not in self._reset_streams:  # otherwise the trailers of a request that was answered early
                raise ConnectionFailedError(ErrorCode.STREAM_CLOSED, f"HEADERS on stream {number}, which is closed")
        elif stream.has_all:
            stream.reset(ErrorCode.STREAM_CLOSED)
        elif error or not flags & frames.END_STREAM:
            stream.reset(ErrorCode.PROTOCOL_ERROR)
        else:
            stream.end_request()

    def on_settings(self, number: int, payload: bytes, flags: int) -> None:
        """SETTINGS."""
        is_ack = bool(flags & frames.ACK)
        has_right_length = len(payload) % frames.SETTING_BYTES == 0 and not (is_ack and payload)
        frames.check("SETTINGS", has_right_stream=number == 0, has_right_length=has_right_length)
        if is_ack:
            return
        for at in range(0, len(payload), frames.SETTING_BYTES):
            self.out.apply_setting(
                int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
            )
        self.out.write(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def on_control(self, kind: int, number: int, payload: bytes, flags: int) -> None:
        """WINDOW_UPDATE, PING or RST_STREAM."""
        if kind == frames.WINDOW_UPDATE:
            frames.check("WINDOW_UPDATE", has_right_stream=number == 0 or not self._is_idle(number))
            self.out.open_window(number, int.from_bytes(payload, "big") & frames.MAX_WINDOW)
        elif kind == frames.PING:
            frames.check("PING", has_right_stream=number == 0)
            if not flags & frames.ACK:
                self.out.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        else:
            frames.check("RST_STREAM", has_right_stream=not self._is_idle(number))
            if stream := self._streams.get(number):
                stream.cancel()

    def on_wrong_priority(self, number: int) -> None:
        """PRIORITY of a wrong length: a stream error."""
        if stream := self._streams.get(number):
            stream.reset(ErrorCode.FRAME_SIZE_ERROR)
        else:
            self.out.write(frames.rst_stream(number, ErrorCode.FRAME_SIZE_ERROR))

    def _is_idle(self, number: int) -> bool:
        """Whether a stream was never opened: a client's have odd numbers, and we open none."""
        return number % 2 == 0 or number > self._last_stream

    def return_credit(self, size: int) -> None:
        """Let the client send that many bytes more on the connection."""
        self._unreturned_credit += size
        if self._unreturned_credit >= CONNECTION_WINDOW_BYTES // 2 and not self._is_closing:
            self.out.write(frames.window_update(0, self._unreturned_credit))
            self._window += self._unreturned_credit
            self._unreturned_credit = 0

    def rst_stream(self, number: int, code: ErrorCode) -> bytes:
        """The RST_STREAM frame for a stream whose client may still be sending."""
        resets = self._reset_streams
        resets[number] = None
        if len(resets) > _REMEMBERED_RESETS:
            del resets[next(iter(resets))]
        return frames.rst_stream(number, code)

    @property
    def is_local(self) -> bool:
        """Whether the client is known to run on this machine."""
        return is_on_this_machine(self._transport)

    def on_done(self, stream: Stream, unconsumed: int) -> None:
        """The application is done with the stream, and has left that many bytes of the body."""
        self._streams.pop(stream.number, None)
        self._unreturned_credit += unconsumed
        if self._unreturned_credit >= CONNECTION_WINDOW_BYTES // 2:
            self.return_credit(0)
        if self.out.blocked:
            self.out.forget(stream.number)
        if not self._streams:
            self._idle_since_s = self.loop.time()
        if not self._takes_streams:
            self._close_if_done()
