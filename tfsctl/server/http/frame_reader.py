"""Splits what an HTTP/2 client sends into frames and header blocks (RFC 9113, sections 3.4, 4 and 6.10).

The nine-byte head of a frame decides what happens to it: a frame that is too long for its type is refused before its
payload arrives, a frame of no use is skipped, and DATA is passed on as it arrives. So at most one small frame is ever
held here, and a frame that arrives in a thousand pieces costs no more than the pieces.
"""

from __future__ import annotations

from typing import Protocol

from tfsctl.server.http import frames
from tfsctl.server.http.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD_BYTES,
    HEADERS,
    MAX_STREAM,
    OUR_FRAME_BYTES,
    PADDED,
    ConnectionFailedError,
    ErrorCode,
    unpack_head,
)

_MAX_BLOCK_FRAMES = 64
_MAX_SETTINGS = 256  # in one frame; a dozen are defined
_WORK_PER_FEED = 128  # frames; 16 bytes of header blocks or settings count as one
_BYTES_PER_UNIT = 16
_PRIORITY_BYTES = 5
_HEADERS_FLAGS = END_HEADERS | PADDED | frames.HAS_PRIORITY
_LENGTHS = {frames.PING: 8, frames.RST_STREAM: 4, frames.WINDOW_UPDATE: 4}


class DataReceiver(Protocol):
    """The receiver of the payload of a DATA frame."""

    def receive(self, data: bytes) -> None:
        """Take a part of the payload."""

    def receive_padding(self, size: int) -> None:
        """Take note of bytes that count for flow control only."""

    def end_request(self) -> None:
        """The frame was the last one of the request."""


class FrameHandler(Protocol):
    """The receiver of the frames. Its methods raise ConnectionFailedError for frames that break the protocol."""

    def on_data(self, number: int, length: int) -> DataReceiver | None:
        """A DATA frame begins. Returns the receiver of its payload, or None to drop it."""

    def on_header_block(self, number: int, block: bytes, flags: int) -> None:
        """A header block is complete; `flags` are those of its HEADERS frame."""

    def on_settings(self, number: int, payload: bytes, flags: int) -> None:
        """A SETTINGS frame."""

    def on_control(self, kind: int, number: int, payload: bytes, flags: int) -> None:
        """PING, RST_STREAM or WINDOW_UPDATE, of the right length."""

    def on_wrong_priority(self, number: int) -> None:
        """A PRIORITY frame of a wrong length."""


class FrameReader:
    """Reads one connection."""

    def __init__(self, handler: FrameHandler, max_block_bytes: int) -> None:
        self._handler = handler
        self._max_block_bytes = max_block_bytes
        self._rest = bytearray()
        self._needed = len(frames.PREFACE)  # how long `_rest` must be before it is read
        self._has_preface = self._has_settings = False
        # a DATA frame whose end has not arrived: its receiver, the bytes of data and padding to come, its flags
        self._receiver: DataReceiver | None = None
        self._data_left = self._padding_left = self._data_flags = 0
        self._skip = 0  # bytes to come of a frame that is skipped
        self._block: list[bytes] = []  # a header block whose end has not arrived
        self._block_stream = self._block_flags = self._block_bytes = 0
        self.is_incomplete = True
        """Whether a frame (but DATA), a header block or the beginning of the connection is still incomplete."""

    @property
    def held_bytes(self) -> int:
        """How many bytes of incomplete frames and header blocks are held."""
        return len(self._rest) + (self._block_bytes if self._block else 0)

    def feed(self, data: bytes, *, is_late: bool = False) -> bool:  # noqa: C901, PLR0912, PLR0915 - the loop over frames: calls would cost 5 %
        """Read the bytes that have arrived, or as few frames as possible if `is_late`.

        Returns False if some are left for another turn of the event loop: call `feed(b"")` then.

        Raises ConnectionFailedError.
        """
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < self._needed:
                return True
            data = bytes(rest)
            rest.clear()
        is_between_frames = self._has_preface and not (self._data_left or self._padding_left or self._skip)
        at = 0 if is_between_frames else self._continue(data)
        work, handler = 0 if is_late else _WORK_PER_FEED, self._handler
        size = len(data)
        while size - at >= HEAD_BYTES:
            if work <= 0:
                self._keep(data, at, 0)
                return False
            work -= 1
            length, low, kind, flags, number = unpack_head(data, at)
            length = length << 8 | low
            number &= MAX_STREAM
            if length > OUR_FRAME_BYTES or self._block or not self._has_settings:
                self._check_order(kind, number, length)
            start = at + HEAD_BYTES
            end = start + length
            if kind == HEADERS:
                if flags & _HEADERS_FLAGS == END_HEADERS and end <= size and number & 1:
                    if length > self._max_block_bytes:
                        raise ConnectionFailedError(ErrorCode.ENHANCE_YOUR_CALM, "too many headers")
                    work -= length // _BYTES_PER_UNIT
                    handler.on_header_block(number, data[start:end], flags)
                    at = end
                    continue
            elif kind == DATA:
                if end <= size and not flags & PADDED:
                    receiver = handler.on_data(number, length)
                    if receiver is not None:
                        if length:
                            receiver.receive(data[start:end])
                        if flags & END_STREAM:
                            receiver.end_request()
                    at = end
                    continue
                if flags & PADDED and length and start >= size:
                    self._keep(data, at, HEAD_BYTES + 1)
                    return True
                at = self._read_data(data, start, number, flags, length)
                continue
            is_needed = self._check(kind, number, length)
            if not is_needed:
                at = min(end, size)
                self._skip = end - at
            elif end > size:
                self._keep(data, at, HEAD_BYTES + length)
                return True
            else:
                work -= length // _BYTES_PER_UNIT
                self._pass_on(kind, number, data[start:end], flags)
                at = end
        self.is_incomplete = bool(self._block or self._skip or not self._has_settings)
        if at < size:
            self._keep(data, at, HEAD_BYTES)
        return True

    def _keep(self, data: bytes, at: int, needed: int) -> None:
        self._rest += data[at:] if at else data
        self._needed, self.is_incomplete = needed, True

    def _continue(self, data: bytes) -> int:
        """Read the bytes before the next frame: the preface, or the rest of a frame. Returns where the next frame begins."""
        if self._data_left or self._padding_left:
            return self._continue_data(data, 0)
        if self._skip:
            done = min(self._skip, len(data))
            self._skip -= done
            return done
        if not data.startswith(frames.PREFACE):
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "not the preface of HTTP/2")
        self._has_preface = True
        return len(frames.PREFACE)

    def _check_order(self, kind: int, number: int, length: int) -> None:
        """Refuse a frame that is too long, interrupts a header block, or comes before the first SETTINGS."""
        if length > OUR_FRAME_BYTES:
            raise ConnectionFailedError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
        if self._block and (kind != frames.CONTINUATION or number != self._block_stream):
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "a header block was interrupted")
        if not self._has_settings and kind != frames.SETTINGS:
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "no SETTINGS after the preface")

    def _check(self, kind: int, number: int, length: int) -> bool:
        """Whether the payload of a frame is needed; raises ConnectionFailedError if it has a wrong length."""
        if (right := _LENGTHS.get(kind)) is not None:
            if length != right:
                raise ConnectionFailedError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of type {kind} with {length} bytes")
        elif kind in (HEADERS, frames.CONTINUATION):
            if length > self._max_block_bytes:
                raise ConnectionFailedError(ErrorCode.ENHANCE_YOUR_CALM, "too many headers")
        elif kind == frames.SETTINGS:
            if length > _MAX_SETTINGS * frames.SETTING_BYTES:
                raise ConnectionFailedError(ErrorCode.ENHANCE_YOUR_CALM, "too many settings")
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE from a client")
        else:
            if kind == frames.GOAWAY:
                frames.check("GOAWAY", has_right_stream=number == 0, has_right_length=length >= 8)
            elif kind == frames.PRIORITY:
                frames.check("PRIORITY", has_right_stream=number != 0)
                if length != _PRIORITY_BYTES:
                    self._handler.on_wrong_priority(number)
            return False
        return True

    def _pass_on(self, kind: int, number: int, payload: bytes, flags: int) -> None:
        if kind == HEADERS:
            self._take_headers(number, payload, flags)
        elif kind == frames.CONTINUATION:
            self._take_continuation(payload, flags)
        elif kind == frames.SETTINGS:
            self._has_settings = True
            self._handler.on_settings(number, payload, flags)
        else:
            self._handler.on_control(kind, number, payload, flags)

    def _read_data(self, data: bytes, start: int, number: int, flags: int, length: int) -> int:
        """Begin with a DATA frame whose payload begins at `start`; returns how far it was read."""
        padding = 0
        if flags & PADDED:
            if not length:
                raise ConnectionFailedError(ErrorCode.FRAME_SIZE_ERROR, "a padded frame without its padding's length")
            padding = data[start]
            if padding >= length:
                raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
        receiver = self._handler.on_data(number, length)
        if flags & PADDED:
            if receiver is not None:
                receiver.receive_padding(padding + 1)
            start += 1
            length -= 1
        self._receiver, self._data_flags = receiver, flags
        self._data_left, self._padding_left = length - padding, padding
        return self._continue_data(data, start)

    def _continue_data(self, data: bytes, at: int) -> int:
        """Read the next part of a DATA frame; returns how far that goes."""
        receiver, size = self._receiver, len(data)
        if self._data_left:
            end = min(at + self._data_left, size)
            self._data_left -= end - at
            if receiver is not None and end > at:
                receiver.receive(data[at:end])
            at = end
        if not self._data_left:
            end = min(at + self._padding_left, size)
            self._padding_left -= end - at
            at = end
            if not self._padding_left:
                self._receiver = None
                if receiver is not None and self._data_flags & END_STREAM:
                    receiver.end_request()
        return at

    def _take_headers(self, number: int, payload: bytes, flags: int) -> None:
        if number % 2 == 0:
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, f"HEADERS on stream {number}, which is no client's")
        if flags & PADDED:
            payload = frames.without_padding(payload)
        if flags & frames.HAS_PRIORITY:
            if len(payload) < _PRIORITY_BYTES:
                raise ConnectionFailedError(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without the priority it promises")
            payload = payload[_PRIORITY_BYTES:]
        if flags & END_HEADERS:
            self._handler.on_header_block(number, payload, flags)
        else:
            self._block, self._block_bytes = [payload], len(payload)
            self._block_stream, self._block_flags = number, flags

    def _take_continuation(self, payload: bytes, flags: int) -> None:
        if not self._block:
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._block.append(payload)
        self._block_bytes += len(payload)
        if len(self._block) > _MAX_BLOCK_FRAMES or self._block_bytes > self._max_block_bytes:
            raise ConnectionFailedError(ErrorCode.ENHANCE_YOUR_CALM, "too many headers")
        if flags & END_HEADERS:
            block, self._block = b"".join(self._block), []
            self._handler.on_header_block(self._block_stream, block, self._block_flags)
