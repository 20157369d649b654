"""TFRecord files: reading, and errors for damaged files in the words of TensorFlow 2.21."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tfrecords import framed

from tfsctl.core.tfrecord import masked_crc32c, read_records
from tfsctl.errors import InvalidInput

HELLO, WORLD = framed(b"hello"), framed(b"world!!")


def read(tmp_path: Path, content: bytes) -> list[bytes]:
    """The records of a file with that content."""
    path = tmp_path / "records"
    path.write_bytes(content)
    return list(read_records(path))


def test_records_are_written_as_by_tensorflow() -> None:
    """The bytes that `tf.io.TFRecordWriter` wrote for b"hello"."""
    assert framed(b"hello").hex() == "0500000000000000eab2043e68656c6c6fbb1f1c19"


def test_the_checksum_is_masked_crc32c() -> None:
    """CRC-32C of 32 zero bytes is 8a9136aa (RFC 3720), masked as in record_writer.cc."""
    assert masked_crc32c(bytes(32)) == ((0x8A9136AA >> 15 | 0x8A9136AA << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_records_are_read_in_order(tmp_path: Path) -> None:
    """Empty ones too; an empty file has none."""
    assert read(tmp_path, HELLO + framed(b"") + WORLD) == [b"hello", b"", b"world!!"]
    assert read(tmp_path, b"") == []


def test_incomplete_header_at_the_end_is_ignored(tmp_path: Path) -> None:
    """As in TensorFlow."""
    assert read(tmp_path, HELLO + WORLD[:11]) == [b"hello"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HELLO + WORLD[:15], "truncated record at 21' failed with Read less bytes than requested"),
        (HELLO + WORLD[:12], "truncated record at 21' failed with Read less bytes than requested"),
        (HELLO[:8] + b"xxxx" + HELLO[12:], "corrupted record at 0 (Is this even a TFRecord file?)"),
        (b"this is a text file, no records at all\n", "corrupted record at 0 (Is this even a TFRecord file?)"),
        (HELLO[:12] + b"j" + HELLO[13:], "corrupted record at 12"),
        (HELLO + WORLD[:-1] + b"\0", "corrupted record at 33"),
        (HELLO + b"\xff" + WORLD[1:], "corrupted record at 21"),
    ],
)
def test_damage_is_reported_with_its_place(tmp_path: Path, content: bytes, message: str) -> None:
    """And its kind."""
    with pytest.raises(InvalidInput) as refused:
        read(tmp_path, content)

    assert refused.value.message == message


@pytest.mark.parametrize("length", [2**40, 2**64 - 1])
def test_a_length_beyond_the_file_is_reported_as_truncation(tmp_path: Path, length: int) -> None:
    """However large it is: nothing is allocated for it."""
    header = struct.pack("<Q", length)
    with pytest.raises(InvalidInput, match="truncated record at 0"):
        read(tmp_path, header + struct.pack("<I", masked_crc32c(header)) + b"abc")


def test_a_record_may_be_too_large(tmp_path: Path) -> None:
    """Its length is refused before that much is read."""
    length = struct.pack("<Q", 2**40)
    (tmp_path / "records").write_bytes(HELLO + length + struct.pack("<I", masked_crc32c(length)))

    records = read_records(tmp_path / "records", max_bytes=2**31)
    assert next(records) == b"hello"
    with pytest.raises(InvalidInput, match=f"the record at 21 has {2**40} bytes, more than {2**31}"):
        next(records)
