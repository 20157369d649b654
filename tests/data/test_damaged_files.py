"""Damaged and malicious files: one error, after the rows before the damage."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from tfrecords import framed, write_records

from tfsctl.core import protos
from tfsctl.core.types import Signature, TensorSpec
from tfsctl.data.shaping import shape_rows
from tfsctl.data.sources import open_source
from tfsctl.errors import InvalidInput

NUMBER = Signature("serving_default", (TensorSpec("x", "float32", (None,)),), ())
PAIR = Signature("serving_default", (TensorSpec("x", "float32", (None, 2, 3)),), ())
TRUTH = Signature("serving_default", (TensorSpec("x", "bool", (None,)),), ())


def rows_until_the_error(path: Path, signature: Signature = NUMBER) -> tuple[list[Any], str]:
    """The rows before the error, and what it says."""
    rows: list[Any] = []

    def read() -> None:
        for batch in shape_rows(open_source(str(path), signature), signature):
            rows.extend(batch.arrays["x"].tolist() if batch.arrays else [])

    with pytest.raises(InvalidInput) as raised:
        read()
    assert path.name in raised.value.message
    return rows, raised.value.message


def array_file(array: np.ndarray, *, is_packed: bool) -> bytes:
    content = io.BytesIO()
    (np.savez_compressed if is_packed else np.savez)(content, x=array)
    return content.getvalue()


def header(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def broken_in_the_middle(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(byte ^ 0xFF for byte in content[middle : middle + 8]) + content[middle + 8 :]


MANY = np.random.default_rng(1).standard_normal(5000).astype(np.float32)
DAMAGED = {
    "crc.npz": (broken_in_the_middle(array_file(MANY, is_packed=False)), "damaged: Bad CRC-32"),
    "deflated.npz": (broken_in_the_middle(array_file(MANY, is_packed=True)), "damaged"),
    "negative.npy": (header("(-5,)"), "holds no rows"),
    "enormous.npy": (header("(99999999999999, 9999999)"), "ends too early"),
    "other.json": (b'{"signature_name": "other", "instances": [1]}', "is for the signature 'other'"),
    "lines.json": (b'{"x": 1}\n{"x": 2}\n', "is not JSON"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_one_error_after_its_good_rows(tmp_path: Path, name: str) -> None:
    """Whatever notices it: a checksum, a length, a mark."""
    content, message = DAMAGED[name]
    (tmp_path / name).write_bytes(content)

    rows, error = rows_until_the_error(tmp_path / name)

    assert message in error
    assert rows in ([], MANY.tolist())


def test_invalid_deflate_stream(tmp_path: Path) -> None:
    """What gzip's header promises and zlib cannot unpack."""
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"x\n1\n")[:10] + b"\xff" * 40)

    assert rows_until_the_error(tmp_path / "x.csv.gz")[0] == []


@pytest.mark.parametrize("left", [-1, -5, -9])
def test_records_before_the_damage_are_read(tmp_path: Path, left: int) -> None:
    """The records before the damage are read, in a truncated file or one with a wrong checksum."""
    records = []
    for value in (1.0, 2.0, 3.0):
        example = protos.Example()
        example.features.feature["x"].float_list.value.append(value)
        records.append(framed(example.SerializeToString()))
    (tmp_path / "x.tfrecord").write_bytes(b"".join(records)[:left])

    rows, error = rows_until_the_error(tmp_path / "x.tfrecord")

    assert rows == [1.0, 2.0]
    assert "truncated record" in error


def test_a_record_of_an_enormous_length(tmp_path: Path) -> None:
    """No memory is allocated for missing data, although the checksum of the length is right."""
    from tfsctl.core.tfrecord import masked_crc32c

    length = struct.pack("<Q", 1 << 60)
    (tmp_path / "x.tfrecord").write_bytes(length + struct.pack("<I", masked_crc32c(length)) + b"little")

    assert "truncated record" in rows_until_the_error(tmp_path / "x.tfrecord")[1]


def test_records_that_are_not_examples(tmp_path: Path) -> None:
    """Each is a row that says so, not a file without columns."""
    write_records(tmp_path / "x.tfrecord", [b"hello", b"hello"])

    assert rows_until_the_error(tmp_path / "x.tfrecord") == ([], "x.tfrecord row 1: the record is not a tf.Example")


def test_unreadable_first_lines(tmp_path: Path) -> None:
    """A first block without a readable line: the objects after it have their names all the same."""
    (tmp_path / "x.jsonl").write_text("oops\n" * 64 + '{"x": 1}\n' * 3)

    batches = list(shape_rows(open_source(str(tmp_path / "x.jsonl"), NUMBER), NUMBER, skip_bad_rows=True))

    assert sum(len(batch.rejects) for batch in batches) == 64
    assert [row for batch in batches for row in batch.rows] == [65, 66, 67]


@pytest.mark.parametrize("rows", [1, 3, 20_000])
def test_fortran_order(tmp_path: Path, rows: int) -> None:
    """A plain file is read across its columns; one that cannot be sought in says what to do."""
    array = np.asfortranarray(np.arange(rows * 6, dtype=np.float32).reshape(rows, 2, 3))
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", x=array)

    batches = list(shape_rows(open_source(str(tmp_path / "x.npy"), PAIR), PAIR))

    np.testing.assert_array_equal(np.concatenate([batch.arrays["x"] for batch in batches]), array)
    assert "columns one after another" in rows_until_the_error(tmp_path / "x.npz", PAIR)[1] or rows == 1


def test_booleans_in_examples(tmp_path: Path) -> None:
    """0 and 1 are what an input of bool takes; 2 is not."""
    records = []
    for value in (1, 0, 2):
        example = protos.Example()
        example.features.feature["x"].int64_list.value.append(value)
        records.append(example.SerializeToString())
    write_records(tmp_path / "x.tfrecord", records)

    assert rows_until_the_error(tmp_path / "x.tfrecord", TRUTH)[0] == [True, False]


def test_decimals_of_parquet_are_numbers(tmp_path: Path) -> None:
    """As a database writes prices."""
    from decimal import Decimal

    parquet.write_table(pa.table({"x": [Decimal("1.50"), Decimal("-2.25")]}), tmp_path / "x.parquet")

    (batch,) = shape_rows(open_source(str(tmp_path / "x.parquet"), NUMBER), NUMBER)

    assert batch.arrays["x"].tolist() == [1.5, -2.25]
