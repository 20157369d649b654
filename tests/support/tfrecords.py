"""TFRecord files as tests write them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from tfsctl.core.tfrecord import masked_crc32c


def framed(record: bytes) -> bytes:
    """A record between its length and its checksums."""
    length = struct.pack("<Q", len(record))
    return b"".join(
        [length, struct.pack("<I", masked_crc32c(length)), record, struct.pack("<I", masked_crc32c(record))]
    )


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Write a file of records."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(framed, records)))
