"""TFRecord files: records framed by their length, with a masked CRC-32C of the length and one of the data.

Format: https://www.tensorflow.org/tutorials/load_data/tfrecord; messages: tensorflow/core/lib/io/record_reader.cc.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tfsctl.errors import InvalidInput

_HEADER = struct.Struct("<QI")  # length, its CRC
_FOOTER = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8
_AT_ONCE = 1 << 24


def read_records(path: Path) -> Iterator[bytes]:
    """The records of a file, one after another. Raises what `iter_records` does, OSError where it cannot be read."""
    with path.open("rb") as file:
        yield from iter_records(file)


def iter_records(file: BinaryIO) -> Iterator[bytes]:
    """The records of an open file, from its first.

    Raises InvalidInput at the first that is damaged or cut short; less than a header at the end is passed over, as
    TensorFlow does.
    """
    at = 0
    while len(header := file.read(_HEADER.size)) == _HEADER.size:
        data = _read_record(file, header, at)
        at += _HEADER.size + len(data) + _FOOTER.size
        yield data


def _read_record(file: BinaryIO, header: bytes, at: int) -> bytes:
    length, length_crc = _HEADER.unpack(header)
    if masked_crc32c(header[:8]) != length_crc:
        raise InvalidInput(f"corrupted record at {at}" + ("" if at else " (Is this even a TFRecord file?)"))
    data, footer = _read_up_to(file, length), file.read(_FOOTER.size)
    if len(data) < length or len(footer) < _FOOTER.size:
        raise InvalidInput(f"truncated record at {at}' failed with Read less bytes than requested")
    if masked_crc32c(data) != _FOOTER.unpack(footer)[0]:
        raise InvalidInput(f"corrupted record at {at + _HEADER.size}")
    return data


def _read_up_to(file: BinaryIO, count: int) -> bytes:
    """So many bytes, or what there is: no memory is taken for bytes that only a header promises."""
    if count <= _AT_ONCE:
        return file.read(count)
    parts = []
    while count and (part := file.read(min(count, _AT_ONCE))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def masked_crc32c(data: bytes) -> int:
    """A CRC-32C, rotated and shifted so that data which holds CRCs itself is guarded as well."""
    from google_crc32c import value

    crc: int = value(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF
