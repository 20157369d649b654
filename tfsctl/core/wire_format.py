"""Protobuf's wire format: varints, and the fields of serialized messages that are not parsed.

Used where values should not be copied, or where a message may be as large as the memory.
Format: https://protobuf.dev/programming-guides/encoding. A varint has seven bits of a number in each byte, the lowest
first; the high bit of a byte says that another follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5  # wire types
_MAX_VARINT_SHIFT = 63  # of the last byte of a 64-bit number
_MAX_KEPT_BYTES = 4096


class WireField(NamedTuple):
    """A field of a serialized message: its number, its wire type, and the offsets of its tag, its value and its end."""

    number: int
    wire_type: int
    start: int
    value: int
    end: int


def encode_varint(number: int) -> bytes:
    """The varint of a non-negative number."""
    return _ENCODED[number] if number < len(_ENCODED) else _encode(number)


def decode_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """The number whose varint starts at an offset, and the offset after it.

    Raises DecodeError if the data ends within the varint, or if the varint has more than 64 bits.
    """
    number = shift = 0
    try:
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number, at
            shift += 7
            if shift > _MAX_VARINT_SHIFT:
                raise DecodeError(f"a number of more than ten bytes before byte {at}")
    except IndexError:
        raise DecodeError("the message ends within a number") from None


def fields(data: bytes | memoryview, start: int = 0, end: int | None = None) -> Iterator[WireField]:
    """The fields of the message between two offsets of the data (default: all of it).

    Raises DecodeError if the message is damaged, or has groups (which no message of TensorFlow uses).
    """
    at, size = start, len(data) if end is None else end
    while at < size:
        start = at
        tag, value = decode_varint(data, at)
        wire_type = tag & 7
        if tag < 8:  # the rest of a file may be zeros
            raise DecodeError(f"field number 0 at byte {start}")
        if wire_type == LENGTH_DELIMITED:
            length, value = decode_varint(data, value)
            at = value + length
        elif wire_type == VARINT:
            _, at = decode_varint(data, value)
        elif wire_type in (FIXED32, FIXED64):
            at = value + (4 if wire_type == FIXED32 else 8)
        else:
            raise DecodeError(f"wire type {wire_type} at byte {start}")
        if at > size:
            raise DecodeError(f"field {tag >> 3} ends after its message")
        yield WireField(tag >> 3, wire_type, start, value, at)


def without_large_contents(data: memoryview, message: Descriptor) -> bytes:
    """A copy of a serialized message without long bytes, strings and packed numbers, at any depth."""
    kept = bytearray()
    for number, wire_type, start, value, end in fields(data):
        if wire_type == LENGTH_DELIMITED and end - value > _MAX_KEPT_BYTES:
            field = message.fields_by_number.get(number)
            if field is None or field.message_type is None:
                continue
            inner = without_large_contents(data[value:end], field.message_type)
            kept += encode_varint(number << 3 | LENGTH_DELIMITED) + encode_varint(len(inner)) + inner
        else:
            kept += data[start:end]
    return bytes(kept)


def _encode(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


_ENCODED = tuple(_encode(number) for number in range(256))
