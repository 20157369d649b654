"""Walks serialized protobuf messages without parsing them: where each field is, and copies without large contents.

Used for files whose tensors may be as large as the memory. Format: https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BITS = 70  # ten bytes
_MAX_KEPT_BYTES = 4096
_PIECE_BYTES = 1024 * 1024


def fields(data: memoryview) -> Iterator[tuple[int, int, int, int, int]]:
    """Each field of a message: (field number, wire type, start of its tag, start and end of its payload).

    Raises DecodeError if the data is damaged, or has groups (which no message of TensorFlow uses).
    """
    at, size = 0, len(data)
    while at < size:
        begin = at
        tag, at = _varint(data, at)
        wire_type = tag & 7
        if wire_type == LENGTH_DELIMITED:
            length, at = _varint(data, at)
            end = at + length
        elif wire_type == VARINT:
            _, end = _varint(data, at)
        elif wire_type in (FIXED32, FIXED64):
            end = at + (4 if wire_type == FIXED32 else 8)
        else:
            raise DecodeError(f"wire type {wire_type} at byte {begin}")
        if end > size:
            raise DecodeError(f"field {tag >> 3} ends after its message")
        yield tag >> 3, wire_type, begin, at, end
        at = end


def leading_values(data: memoryview, tag: int, at: int, limit: int) -> tuple[list[bytes], int]:
    """Up to `limit` values from a position on whose tag is this byte, and where they end. Raises DecodeError."""
    values: list[bytes] = []
    size = len(data)
    while at < size and data[at] == tag and len(values) < limit:
        length, at = _varint(data, at + 1)
        end = at + length
        if end > size:
            raise DecodeError(f"field {tag >> 3} ends after its message")
        values.append(copied(data[at:end]) if length > _PIECE_BYTES else bytes(data[at:end]))
        at = end
    return values, at


def copied(data: memoryview) -> bytes:
    """A copy of large data, made in pieces: joining them releases Python's lock."""
    return b"".join([bytes(data[at : at + _PIECE_BYTES]) for at in range(0, len(data), _PIECE_BYTES)])


def without_large_contents(data: memoryview, message: Descriptor) -> bytes:
    """A copy of a serialized message without long bytes, strings and packed numbers, at any depth."""
    kept = bytearray()
    for number, wire_type, begin, start, end in fields(data):
        if wire_type == LENGTH_DELIMITED and end - start > _MAX_KEPT_BYTES:
            field = message.fields_by_number.get(number)
            if field is None or field.message_type is None:
                continue
            inner = without_large_contents(data[start:end], field.message_type)
            kept += _encoded(number << 3 | LENGTH_DELIMITED) + _encoded(len(inner)) + inner
        else:
            kept += data[begin:end]
    return bytes(kept)


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number at a position, and the position after it."""
    value = shift = 0
    try:
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
            if shift >= _MAX_VARINT_BITS:
                raise DecodeError(f"a number of more than ten bytes before byte {at}")
    except IndexError:
        raise DecodeError("the message ends within a number") from None


def _encoded(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
