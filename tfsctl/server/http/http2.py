"""One HTTP/2 connection (RFC 9113): frames in, and streams to the application."""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from tfsctl.server.http import frames
from tfsctl.server.http.frames import ConnectionFailedError, ErrorCode
from tfsctl.server.http.hpack_cache import MAX_HEADER_LIST_BYTES, HeadReader
from tfsctl.server.http.http2_sending import Sending
from tfsctl.server.http.http2_stream import Stream
from tfsctl.server.http.settings import Limits, Site

log = logging.getLogger(__name__)

_WINDOW_BYTES = 16 * 1024 * 1024  # a large tensor should not wait for window updates
_MAX_BLOCK_BYTES, _MAX_BLOCK_FRAMES = 2 * MAX_HEADER_LIST_BYTES, 64
_HIGHEST_STREAM = 2**31 - 1
_REMEMBERED = 1024  # streams that were reset
_LINGER_S = 0.5
_FRAMES_A_TURN = 500


class Http2Connection(asyncio.Protocol):
    """One client, with as many requests at once as the limits have it."""

    def __init__(self, site: Site, limits: Limits, port: int | None) -> None:
        self.site = site
        self.loop = site.loop
        self._limits = limits
        self.port = port
        self._reader = HeadReader()
        self._streams: dict[int, Stream] = {}
        self.out = Sending(site.loop, self._streams)
        self._new: list[Stream] = []
        self._rest = b""
        # A DATA frame whose end is not here: whose it is, the bytes to come, and its flags.
        self._data: tuple[Stream | None, int, int] | None = None
        self._block: list[bytes] = []  # a header block whose end is not here
        self._block_stream = self._block_flags = 0
        self._last_stream = 0
        self._received = 0  # bytes of DATA that the client has not been given back yet
        self._has_preface = self._has_settings = self._is_closing = False
        self._takes_streams = True
        self._cut_short: dict[int, None] = {}  # the last streams that were reset: more of them may be on its way
        self._leaving_since_s: float | None = None
        self._pinged_s: float | None = None
        self._is_resting = False

    # ---- asyncio's side ----
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what the client may send."""
        self._transport = self.out.transport = cast("asyncio.Transport", transport)
        self._opened_s = self._heard_s = self._idle_since_s = self.loop.time()
        limits = {
            frames.MAX_CONCURRENT_STREAMS: self._limits.max_streams,
            frames.INITIAL_WINDOW_SIZE: _WINDOW_BYTES,
            frames.MAX_FRAME_SIZE: frames.OUR_FRAME_BYTES,
            frames.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST_BYTES,
        }
        more = _WINDOW_BYTES - frames.DEFAULT_WINDOW
        self._transport.write(frames.settings(limits) + frames.window_update(0, more))
        self.site.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Read frames, and start what they ask for."""
        if self._is_closing:
            return
        self._heard_s = self.loop.time()
        try:
            if self._rest:
                data = self._rest + data
                self._rest = b""
            done = self._read(data)
        except ConnectionFailedError as error:
            self._fail(error.code, str(error))
            return
        if done < len(data):
            self._rest = data[done:]
        if self._new:
            for stream in self._new:
                stream.task = self.loop.create_task(stream.serve())
            self._new.clear()

    def _go_on(self) -> None:
        """Read what was left for another turn of the event loop."""
        self._is_resting = False
        if not self._is_closing:
            self.data_received(b"")
            self._resume_reading()

    def _rest_a_turn(self) -> None:
        """Let the other connections have their turn before the frames that are left."""
        if not self._is_resting:
            self._is_resting = True
            self._transport.pause_reading()
            self.loop.call_soon(self._go_on)

    def _resume_reading(self) -> None:
        if not self._is_resting and not self.out.is_paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The client does not read: what it asks now would only pile up."""
        self.out.is_paused = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.out.is_paused = False
        self._resume_reading()
        self.out.pump()

    def connection_lost(self, _error: Exception | None) -> None:
        """The client has left."""
        self._is_closing = True
        self.site.connections.discard(self)
        for stream in list(self._streams.values()):
            stream.leave()
        self.out.clear()

    # ---- what the time brings ----
    def look_after(self, now_s: float) -> None:
        """Send a client away that has been here for long, or silent for long."""
        limits = self._limits
        if self._leaving_since_s is not None:
            if now_s > self._leaving_since_s:
                self._say_goodbye()
            return
        is_idle = not self._streams and limits.max_idle_s is not None and now_s - self._idle_since_s > limits.max_idle_s
        if is_idle or (limits.max_age_s is not None and now_s - self._opened_s > limits.max_age_s):
            self._leaving_since_s = now_s
            self.out.write(frames.goaway(_HIGHEST_STREAM, ErrorCode.NO_ERROR))  # what is on its way is still taken
        elif limits.keepalive_s is not None:
            if self._pinged_s is not None and self._pinged_s > self._heard_s:
                if now_s - self._pinged_s > limits.keepalive_timeout_s:
                    self._transport.abort()
            elif now_s - self._heard_s > limits.keepalive_s:
                self._pinged_s = now_s
                self.out.write(frames.frame(frames.PING, 0, 0, bytes(8)))

    def _say_goodbye(self) -> None:
        """Take no more streams, and close after the last."""
        if self._takes_streams:
            self._takes_streams = False
            self.out.write(frames.goaway(self._last_stream, ErrorCode.NO_ERROR))
            self._close_if_done()

    def _close_if_done(self) -> None:
        if not self._takes_streams and not self._streams:
            self._is_closing = True
            self._transport.close()

    def close(self) -> None:
        """End the connection; what is written reaches the client."""
        self._is_closing = True
        self.out.write(frames.goaway(self._last_stream, ErrorCode.NO_ERROR))
        self._transport.close()

    def _fail(self, code: ErrorCode, why: str) -> None:
        """Say why, and read no more; the client has a moment to take that in before the connection is gone."""
        if self._is_closing:
            return
        self._is_closing = True
        self.out.write(frames.goaway(self._last_stream, code, why))
        for stream in list(self._streams.values()):
            stream.leave()
        transport = self._transport
        if transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()
            self.loop.call_later(_LINGER_S, transport.close)
        else:
            transport.close()

    # ---- frames ----
    def _read(self, data: bytes) -> int:
        """Read what is whole; returns how far. Raises ConnectionFailedError."""
        at, size, taken = self._read_beginning(data), len(data), 0
        while size - at >= frames.HEAD_BYTES:
            taken += 1
            if taken > _FRAMES_A_TURN:
                self._rest_a_turn()
                return at
            length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            kind, flags = data[at + 3], data[at + 4]
            number = int.from_bytes(data[at + 5 : at + 9], "big") & _HIGHEST_STREAM
            if length > frames.OUR_FRAME_BYTES or self._block or not self._has_settings:
                self._check_order(kind, number, length)
            start, end = at + frames.HEAD_BYTES, at + frames.HEAD_BYTES + length
            if end > size:
                if kind != frames.DATA or flags & frames.PADDED:
                    return at
                self._begin_data(number, data[start:], flags, length)
                return size
            if kind == frames.DATA:
                self._take_data(number, data[start:end], flags, length)
            elif kind == frames.HEADERS:
                self._take_headers(number, data[start:end], flags)
            else:
                self._take_other(kind, number, data[start:end], flags)
            at = end
        return at

    def _read_beginning(self, data: bytes) -> int:
        """Read what comes before the next frame: the preface, or the rest of a DATA frame; returns how far that goes."""
        if self._data is not None:
            return self._go_on_with_data(data)
        if self._has_preface:
            return 0
        if not data.startswith(frames.PREFACE):
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "not the preface of HTTP/2")
        self._has_preface = True
        return len(frames.PREFACE)

    def _check_order(self, kind: int, number: int, length: int) -> None:
        """Refuse a frame that is too long, or not what has to come now."""
        if length > frames.OUR_FRAME_BYTES:
            raise ConnectionFailedError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
        if self._block and (kind != frames.CONTINUATION or number != self._block_stream):
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "a header block was broken off")
        if not self._has_settings and kind != frames.SETTINGS:
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "no SETTINGS after the preface")

    # ---- DATA ----
    def _take_data(self, number: int, payload: bytes, flags: int, length: int) -> None:
        if flags & frames.PADDED:
            payload = frames.without_padding(payload)
        stream = self._data_stream(number, length)
        if stream is not None:
            if payload:
                stream.take(payload)
            if flags & frames.END_STREAM:
                stream.end_request()

    def _begin_data(self, number: int, payload: bytes, flags: int, length: int) -> None:
        """The beginning of a frame whose end is still to come."""
        stream = self._data_stream(number, length)
        if stream is not None and payload:
            stream.take(payload)
        self._data = stream, length - len(payload), flags

    def _go_on_with_data(self, data: bytes) -> int:
        """The next part of such a frame; returns how far it goes."""
        stream, left, flags = self._data or (None, 0, 0)
        taken = min(left, len(data))
        is_open = stream is not None and not stream.is_over
        if stream is not None and is_open:
            stream.take(data[:taken])
        self._data = (stream, left - taken, flags) if taken < left else None
        if stream is not None and is_open and self._data is None and flags & frames.END_STREAM:
            stream.end_request()
        return taken

    def _data_stream(self, number: int, length: int) -> Stream | None:
        """Whose data this is; None where nobody wants it any more. Gives the client its window back."""
        if number == 0 or number > self._last_stream:
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, f"DATA on stream {number}, which was never opened")
        self._received += length
        if self._received > _WINDOW_BYTES:
            raise ConnectionFailedError(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the window of the connection")
        if self._received >= _WINDOW_BYTES // 2:
            self.out.write(frames.window_update(0, self._received))
            self._received = 0
        stream = self._streams.get(number)
        if stream is None or stream.is_over:
            return None
        if stream.has_all:
            stream.reset(ErrorCode.STREAM_CLOSED)
            return None
        stream.received += length
        if stream.received > _WINDOW_BYTES:
            stream.reset(ErrorCode.FLOW_CONTROL_ERROR)
            return None
        if stream.received >= _WINDOW_BYTES // 2:
            self.out.write(frames.window_update(number, stream.received))
            stream.received = 0
        return stream

    # ---- HEADERS ----
    def _take_headers(self, number: int, payload: bytes, flags: int) -> None:
        if number % 2 == 0:
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, f"HEADERS on stream {number}, which is no client's")
        if flags & frames.PADDED:
            payload = frames.without_padding(payload)
        if flags & frames.HAS_PRIORITY:
            if len(payload) < 5:
                raise ConnectionFailedError(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without the priority it promises")
            payload = payload[5:]
        if flags & frames.END_HEADERS:
            self._take_block(number, payload, flags)
        else:
            self._block, self._block_stream, self._block_flags = [payload], number, flags
            self._check_block()

    def _continue_headers(self, payload: bytes, flags: int) -> None:
        if not self._block:
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._block.append(payload)
        if flags & frames.END_HEADERS:
            block, self._block = b"".join(self._block), []
            self._take_block(self._block_stream, block, self._block_flags)
        else:
            self._check_block()

    def _check_block(self) -> None:
        if len(self._block) > _MAX_BLOCK_FRAMES or sum(map(len, self._block)) > _MAX_BLOCK_BYTES:
            raise ConnectionFailedError(ErrorCode.ENHANCE_YOUR_CALM, "too many headers")

    def _take_block(self, number: int, block: bytes, flags: int) -> None:
        """A whole header block: a request, or the trailers of one."""
        if number <= self._last_stream:
            self._take_trailers(number, self._reader.read_trailers(block), flags)
            return
        head = self._reader.read(block)
        self._last_stream = number
        if head.error:
            self.out.write(self.cut_short(number, ErrorCode.PROTOCOL_ERROR))
        elif len(self._streams) >= self._limits.max_streams or not self._takes_streams:
            self.out.write(self.cut_short(number, ErrorCode.REFUSED_STREAM))
        else:
            stream = Stream(self, number, head)
            self._streams[number] = stream
            self._new.append(stream)
            if flags & frames.END_STREAM:
                stream.end_request()
            elif head.headers.get(b"expect", b"").lower() == b"100-continue":
                self.out.write(self.out.headers(number, 100, (), ends=False))

    def _take_trailers(self, number: int, error: str, flags: int) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.is_over:
            if stream is None and number not in self._cut_short:  # not the end of what was answered early
                raise ConnectionFailedError(ErrorCode.STREAM_CLOSED, f"HEADERS on stream {number}, which is over")
        elif stream.has_all:
            stream.reset(ErrorCode.STREAM_CLOSED)
        elif error or not flags & frames.END_STREAM:
            stream.reset(ErrorCode.PROTOCOL_ERROR)
        else:
            stream.end_request()

    # ---- the other frames ----
    def _take_other(self, kind: int, number: int, payload: bytes, flags: int) -> None:
        if kind == frames.WINDOW_UPDATE:
            frames.check("WINDOW_UPDATE", number <= self._last_stream, len(payload) == 4)
            self.out.open_window(number, int.from_bytes(payload, "big") & frames.MAX_WINDOW)
        elif kind == frames.SETTINGS:
            self._take_settings(number, payload, flags)
        elif kind == frames.PING:
            frames.check("PING", number == 0, len(payload) == 8)
            if not flags & frames.ACK:
                self.out.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.RST_STREAM:
            frames.check("RST_STREAM", 0 < number <= self._last_stream, len(payload) == 4)
            if stream := self._streams.get(number):
                stream.leave()
        elif kind == frames.CONTINUATION:
            self._continue_headers(payload, flags)
        elif kind == frames.PRIORITY:
            frames.check("PRIORITY", number != 0)
            if len(payload) != 5:
                self.out.write(frames.rst_stream(number, ErrorCode.FRAME_SIZE_ERROR))
        elif kind == frames.GOAWAY:
            frames.check("GOAWAY", number == 0, len(payload) >= 8)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE from a client")

    def _take_settings(self, number: int, payload: bytes, flags: int) -> None:
        is_ack = bool(flags & frames.ACK)
        frames.check("SETTINGS", number == 0, len(payload) % 6 == 0 and not (is_ack and payload))
        self._has_settings = True
        if is_ack:
            return
        for at in range(0, len(payload), 6):
            self.out.set(int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big"))
        self.out.write(frames.frame(frames.SETTINGS, frames.ACK, 0))

    # ---- what streams ask of their connection ----
    def cut_short(self, number: int, code: ErrorCode) -> bytes:
        """The frame that ends a stream whose client may still be sending."""
        self._cut_short[number] = None
        if len(self._cut_short) > _REMEMBERED:
            del self._cut_short[next(iter(self._cut_short))]
        return frames.rst_stream(number, code)

    def forget(self, stream: Stream) -> None:
        """The stream is over, for both sides and the application."""
        self._streams.pop(stream.number, None)
        self.out.forget(stream)
        if not self._streams:
            self._idle_since_s = self.loop.time()
        if not self._takes_streams:
            self._close_if_done()
