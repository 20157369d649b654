"""Reads and writes TFRecord files: each record has its length, and masked CRC-32C checksums of length and data.

Format: https://www.tensorflow.org/tutorials/load_data/tfrecord; messages: tensorflow/core/lib/io/record_reader.cc.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from tfsctl.errors import InvalidInput

_HEADER = struct.Struct("<QI")  # length, its CRC
_LENGTH = struct.Struct("<Q")
_FOOTER = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8
_CHUNK_BYTES = 1 << 24


def read_records(path: Path, *, max_bytes: int | None = None) -> Iterator[bytes]:
    """The records of a file. Raises OSError if it cannot be read, and InvalidInput as `iter_records` does."""
    with path.open("rb") as file:
        yield from iter_records(file, max_bytes=max_bytes)


def iter_records(file: BinaryIO, *, max_bytes: int | None = None) -> Iterator[bytes]:
    """The records of an open file.

    Raises InvalidInput at the first record that is damaged, truncated, or larger than `max_bytes`. If fewer bytes than
    a header are left at the end, they are ignored, as in TensorFlow.
    """
    at = 0
    while len(header := file.read(_HEADER.size)) == _HEADER.size:
        data = _read_record(file, header, at, max_bytes)
        at += _HEADER.size + len(data) + _FOOTER.size
        yield data


def write_records(file: BinaryIO, records: Iterable[bytes]) -> None:
    """Append records to an open file."""
    for record in records:
        length = _LENGTH.pack(len(record))
        file.write(_HEADER.pack(len(record), masked_crc32c(length)))
        file.write(record)
        file.write(_FOOTER.pack(masked_crc32c(record)))


def _read_record(file: BinaryIO, header: bytes, at: int, max_bytes: int | None) -> bytes:
    """The data of the record at offset `at`, after its header. Raises InvalidInput in TensorFlow's words."""
    length, length_crc = _HEADER.unpack(header)
    if masked_crc32c(header[:8]) != length_crc:
        raise InvalidInput(f"corrupted record at {at}" + ("" if at else " (Is this even a TFRecord file?)"))
    if max_bytes is not None and length > max_bytes:
        raise InvalidInput(f"the record at {at} has {length} bytes, more than {max_bytes}")
    data, footer = _read_up_to(file, length), file.read(_FOOTER.size)
    if len(data) < length or len(footer) < _FOOTER.size:
        raise InvalidInput(f"truncated record at {at}' failed with Read less bytes than requested")
    if masked_crc32c(data) != _FOOTER.unpack(footer)[0]:
        raise InvalidInput(f"corrupted record at {at + _HEADER.size}")
    return data


def _read_up_to(file: BinaryIO, count: int) -> bytes:
    """Up to `count` bytes. Reads in chunks, so that a wrong length in a header does not allocate that much memory."""
    if count <= _CHUNK_BYTES:
        return file.read(count)
    parts = []
    while count and (part := file.read(min(count, _CHUNK_BYTES))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def masked_crc32c(data: bytes) -> int:
    """The CRC-32C of data, masked as TFRecord does it: rotated, plus a constant."""
    from google_crc32c import value

    crc: int = value(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF
