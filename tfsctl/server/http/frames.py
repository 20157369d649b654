"""HTTP/2 frames (RFC 9113, sections 4 and 6): their numbers, and how the server's own are written."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
MAX_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_BYTES = 16_384
MAX_FRAME_BYTES = 2**24 - 1
OUR_FRAME_BYTES = 1024 * 1024  # the largest that this server takes, and sends
MAX_STREAM = 2**31 - 1
SETTING_BYTES = 6

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, HAS_PRIORITY = 0x4, 0x8, 0x20

# settings (section 6.5.2)
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 1, 2, 3, 4
MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 5, 6
DEFAULT_TABLE_BYTES = 4096
NO_TABLE = b"\x20"  # begins a header block: the dynamic table has 0 bytes from here on (RFC 7541, section 6.3)

_HEAD = struct.Struct(">HBBBI")  # the length in its high two bytes and its low one, type, flags, stream
unpack_head = _HEAD.unpack_from
"""Reads the head of a frame: its length, the low byte apart; its type and flags; its stream, with the reserved bit."""
_STATUS_200 = b"\x88"  # indexed, from the static table of RFC 7541
_STATUS_NAME = b"\x08"  # a literal that is not indexed, with the name of entry 8


class ErrorCode(IntEnum):
    """RFC 9113, section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB


class ConnectionFailedError(Exception):
    """A connection error (RFC 9113, section 5.4.1): the connection is closed with this code."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def head(length: int, kind: int, flags: int, stream: int) -> bytes:
    """The nine bytes before a payload of that length."""
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return head(len(payload), kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", name, value) for name, value in values.items()))


def window_update(stream: int, size: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big"))


def rst_stream(stream: int, code: ErrorCode) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last_stream: int, code: ErrorCode, reason: str = "") -> bytes:
    """A GOAWAY frame, with the reason as its debug data."""
    return frame(GOAWAY, 0, 0, struct.pack(">II", last_stream, code) + reason.encode())


@lru_cache(1024)
def header_block(status: int, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """A header block (RFC 7541) of literals that leaves the dynamic table as it is. Status 0 is for trailers."""
    parts = [b"" if not status else _STATUS_200 if status == 200 else _STATUS_NAME + _text(b"%d" % status)]
    parts += [b"\0" + _text(name) + _text(value) for name, value in headers]
    return b"".join(parts)


@lru_cache(1024)
def _header_frame_parts(status: int, headers: tuple[tuple[bytes, bytes], ...], flags: int) -> tuple[bytes, bytes]:
    """The bytes of a HEADERS frame before and after the number of its stream."""
    whole = frame(HEADERS, flags | END_HEADERS, 0, header_block(status, headers))
    return whole[: HEAD_BYTES - 4], whole[HEAD_BYTES:]


def whole_response(
    stream: int,
    status: int,
    headers: tuple[tuple[bytes, bytes], ...],
    body: bytes,
    trailers: tuple[tuple[bytes, bytes], ...],
) -> bytes:
    """The HEADERS, DATA and HEADERS frames of a response. Its blocks and body must fit one frame each."""
    number, size = stream.to_bytes(4, "big"), len(body)
    start, block = _header_frame_parts(status, headers, 0)
    end, last_block = _header_frame_parts(0, trailers, END_STREAM)
    data = _HEAD.pack(size >> 8, size & 0xFF, DATA, 0, stream)
    return b"".join((start, number, block, data, body, end, number, last_block))


def header_frames(stream: int, block: bytes, *, ends: bool, limit: int) -> bytes:
    """A header block as a HEADERS frame, and CONTINUATION frames where it is longer than the limit."""
    flags = END_STREAM if ends else 0
    if len(block) <= limit:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    pieces: Sequence[bytes] = [block[start : start + limit] for start in range(0, len(block), limit)]
    frames = [frame(HEADERS, flags, stream, pieces[0])]
    frames += [frame(CONTINUATION, 0, stream, piece) for piece in pieces[1:-1]]
    return b"".join([*frames, frame(CONTINUATION, END_HEADERS, stream, pieces[-1])])


def _text(value: bytes) -> bytes:
    """A string of RFC 7541 (section 5.2), not Huffman coded."""
    length = len(value)
    if length < 127:
        return bytes((length,)) + value
    length -= 127
    digits = bytearray((127,))
    while length >= 128:
        digits.append(length & 127 | 128)
        length >>= 7
    digits.append(length)
    return bytes(digits) + value


def check(name: str, *, has_right_stream: bool, has_right_length: bool = True) -> None:
    """Raise ConnectionFailedError unless a frame's stream number and its length are right."""
    if not has_right_stream:
        raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, f"{name} on a stream that cannot have it")
    if not has_right_length:
        raise ConnectionFailedError(ErrorCode.FRAME_SIZE_ERROR, f"{name} of a wrong length")


def without_padding(payload: bytes) -> bytes:
    """The payload of a PADDED frame without its padding. Raises ConnectionFailedError if there is more padding than frame."""
    if not payload:
        raise ConnectionFailedError(ErrorCode.FRAME_SIZE_ERROR, "a padded frame without its padding's length")
    if payload[0] >= len(payload):
        raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]
