"""TFRecord files: records framed by their length, with a masked CRC-32C of the length and one of the data.

Format: https://www.tensorflow.org/tutorials/load_data/tfrecord; messages: tensorflow/core/lib/io/record_reader.cc.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tfsctl.errors import InvalidInput

_HEADER = struct.Struct("<QI")  # length, its CRC
_FOOTER = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8


def read_records(path: Path) -> Iterator[bytes]:
    """The records of a file, one after another.

    Raises InvalidInput at the first that is damaged or cut short; less than a header at the end is passed over, as
    TensorFlow does. Raises OSError where the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while (at := file.tell()) + _HEADER.size <= size:
            yield _read_record(file, at, size)


def _read_record(file: BinaryIO, at: int, size: int) -> bytes:
    header = file.read(_HEADER.size)
    length, length_crc = _HEADER.unpack(header)
    if masked_crc32c(header[:8]) != length_crc:
        raise InvalidInput(f"corrupted record at {at}" + ("" if at else " (Is this even a TFRecord file?)"))
    if at + _HEADER.size + length + _FOOTER.size > size:
        raise InvalidInput(f"truncated record at {at}' failed with Read less bytes than requested")
    data = file.read(length)
    (data_crc,) = _FOOTER.unpack(file.read(_FOOTER.size))
    if masked_crc32c(data) != data_crc:
        raise InvalidInput(f"corrupted record at {at + _HEADER.size}")
    return data


def masked_crc32c(data: bytes) -> int:
    """A CRC-32C, rotated and shifted so that data which holds CRCs itself is guarded as well."""
    from google_crc32c import value

    crc: int = value(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF
