"""Packed varints to numbers and back, with numpy: other Python threads run meanwhile, and it is faster than protobuf.

Format: https://protobuf.dev/programming-guides/encoding. Numbers are uint64; negative ones are their two's complement.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from google.protobuf.message import DecodeError

_MAX_BYTES = 10  # of a 64-bit number


def pieces(packed: memoryview, size: int) -> Iterator[memoryview]:
    """Packed numbers in pieces of about `size` bytes, cut between two numbers. Raises DecodeError as `decode` does."""
    at, last = 0, len(packed)
    while at < last:
        end = min(at + size, last)
        longest = end + _MAX_BYTES
        while end < last and packed[end - 1] & 0x80:
            end += 1
            if end > longest:
                raise DecodeError("a number of more than ten bytes")
        yield packed[at:end]
        at = end


def decode(packed: memoryview | bytes) -> np.ndarray:
    """The numbers of a packed field. Raises DecodeError if the last one is cut off, or one is too long."""
    data = np.frombuffer(packed, np.uint8)
    is_last = data < 0x80
    if is_last.all():
        return data.astype(np.uint64)
    if not is_last[-1]:
        raise DecodeError("the message ends within a number")
    ends = np.flatnonzero(is_last)
    sizes = np.diff(ends, prepend=-1)
    longest = int(sizes.max())
    if longest > _MAX_BYTES:
        raise DecodeError("a number of more than ten bytes")
    numbers = np.zeros(len(ends), np.uint64)
    starts = ends + 1 - sizes
    for index in range(longest):
        has_byte = sizes > index
        digits = data[np.minimum(starts + index, ends)] & 0x7F
        numbers |= np.where(has_byte, digits, 0).astype(np.uint64) << np.uint64(7 * index)
    return numbers


def encode(numbers: np.ndarray) -> bytes:
    """The packed varints of uint64 numbers."""
    sizes = np.ones(len(numbers), np.int64)
    for index in range(1, _MAX_BYTES):
        is_longer = numbers >= np.uint64(1 << 7 * index)
        if not is_longer.any():
            break
        sizes += is_longer
    longest = int(sizes.max(initial=1))
    if longest == 1:
        return numbers.astype(np.uint8).tobytes()
    ends = np.cumsum(sizes)
    packed = np.empty(int(ends[-1]), np.uint8)
    starts = ends - sizes
    for index in range(longest):
        chosen = np.flatnonzero(sizes > index)
        digits = (numbers[chosen] >> np.uint64(7 * index)).astype(np.uint8) & np.uint8(0x7F)
        packed[starts[chosen] + index] = digits | np.where(sizes[chosen] > index + 1, 0x80, 0).astype(np.uint8)
    return packed.tobytes()
