"""Varints, the variable-length integers of protobuf's wire format.

Format: https://protobuf.dev/programming-guides/encoding. Seven bits a byte, the lowest first; the high bit of a byte
says that another follows.
"""

from __future__ import annotations

_MAX_SHIFT = 63  # of the last byte of a 64-bit number


def encode_varint(number: int) -> bytes:
    """The varint of a non-negative number."""
    return _ENCODED[number] if number < len(_ENCODED) else _encode(number)


def decode_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """The number whose varint starts at an offset, and the offset after it.

    Raises IndexError if the data ends within the varint, or if the varint has more than 64 bits.
    """
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > _MAX_SHIFT:
            raise IndexError(at)


def _encode(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


_ENCODED = tuple(_encode(number) for number in range(256))
