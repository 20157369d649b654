"""Files of every format become the arrays of a signature."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from tfrecords import write_records

from tfsctl.core import protos
from tfsctl.core.batches import concatenate
from tfsctl.core.types import Signature, TensorSpec
from tfsctl.data.shaping import shape_rows
from tfsctl.data.sources import Format, open_source
from tfsctl.errors import InvalidInput, NotFound

AREAS, CITIES = [120.0, 80.5, -1.0], ["Bern", 'the "old" town, Zürich', "line\nend"]
HOUSES = Signature(
    "serving_default", (TensorSpec("area", "float32", (None,)), TensorSpec("city", "string", (None, 1))), ()
)
TEXT = Signature("serving_default", (TensorSpec("text", "string", (None,)),), ())
NUMBERS = Signature("serving_default", (TensorSpec("x", "float32", (None,)),), ())
PAIRS = Signature("two", (TensorSpec("area", "float32", (None,)), TensorSpec("city", "string", (None,))), ())
PIXELS = Signature("serving_default", (TensorSpec("image", "uint8", (None, 2, 2, 3)),), ())
ROWS = [{"area": area, "city": city} for area, city in zip(AREAS, CITIES, strict=True)]


def read(location: Path | str, signature: Signature, **options: Any) -> dict[str, list[Any]]:
    """All rows of a source, as lists by input."""
    batches = list(shape_rows(open_source(str(location), signature, **options), signature))
    assert [row for batch in batches for row in batch.rows] == list(range(1, sum(map(len, batches)) + 1))
    whole = concatenate(batches)
    for spec in signature.inputs:
        assert whole.arrays[spec.name].dtype == (object if spec.dtype == "string" else spec.dtype)
    return {name: array.tolist() for name, array in whole.arrays.items()}


def csv(path: Path, delimiter: str = ",") -> None:
    rows = [
        f'{area}{delimiter}"{city.replace(chr(34), chr(34) * 2)}"' for area, city in zip(AREAS, CITIES, strict=True)
    ]
    path.write_text("\r\n".join([f"area{delimiter}city", *rows, ""]), encoding="utf-8-sig", newline="")


def npz(path: Path) -> None:
    np.savez_compressed(path, area=np.array(AREAS), city=np.array([city.encode() for city in CITIES]))


def examples(path: Path) -> None:
    records = []
    for row in ROWS:
        example = protos.Example()
        example.features.feature["area"].float_list.value.append(float(str(row["area"])))
        example.features.feature["city"].bytes_list.value.append(str(row["city"]).encode())
        records.append(example.SerializeToString())
    write_records(path, records)


def packed(write: Callable[[Path], object], path: Path) -> None:
    write(path)
    path.write_bytes(gzip.compress(path.read_bytes()))


WRITERS: dict[str, Callable[[Path], object]] = {
    "houses.csv": csv,
    "houses.tsv": lambda path: csv(path, "\t"),
    "houses.jsonl": lambda path: path.write_text("".join(json.dumps(row) + "\n" for row in ROWS) + "\n"),
    "houses.jsonl.gz": lambda path: path.write_bytes(gzip.compress("\n".join(map(json.dumps, ROWS)).encode())),
    "rows.json": lambda path: path.write_text(json.dumps(ROWS)),
    "instances.json": lambda path: path.write_text(json.dumps({"instances": ROWS})),
    "bom.jsonl": lambda path: path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), "utf-8-sig"),
    "bom.json": lambda path: path.write_text(json.dumps(ROWS), "utf-8-sig"),
    "signature.json": lambda path: path.write_text(
        json.dumps({"signature_name": "serving_default", "instances": ROWS})
    ),
    "inputs.json": lambda path: path.write_text(json.dumps({"inputs": {"area": AREAS, "city": CITIES}})),
    "columns.json": lambda path: path.write_text(json.dumps({"area": AREAS, "city": [[city] for city in CITIES]})),
    "houses.npz": npz,
    "houses.parquet": lambda path: parquet.write_table(pa.table({"area": AREAS, "city": CITIES}), path),
    "houses.tfrecord": examples,
    "houses.tfrecord.gz": lambda path: packed(examples, path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_each_input_gets_the_column_of_its_name(tmp_path: Path, name: str) -> None:
    """Each input gets the column of its name, in its dtype, and a single value as the row of one it must be."""
    WRITERS[name](tmp_path / name)

    assert read(tmp_path / name, HOUSES) == {"area": AREAS, "city": [[city.encode()] for city in CITIES]}


@pytest.mark.parametrize("name", ["x.npy", "x.jsonl", "x.txt", "x.json", "x.csv"])
@pytest.mark.parametrize("rows", [[[1.0, 2.5], [3.0, 4.0], [5.0, 6.0]]])
def test_values_without_names(tmp_path: Path, name: str, rows: list[list[float]]) -> None:
    """Rows of two numbers: an array, lists, lines of numbers, and a column for each."""
    signature = Signature("serving_default", (TensorSpec("x", "float32", (None, 2)),), ())
    path = tmp_path / name
    if name == "x.npy":
        np.save(path, np.array(rows))
    else:
        written = {
            "x.jsonl": "\n".join(map(json.dumps, rows)),
            "x.json": json.dumps({"inputs": rows}),
            "x.txt": "\n".join(f"{a}, {b}" for a, b in rows),
            "x.csv": "width,height\n" + "\n".join(f"{a},{b}" for a, b in rows),
        }
        path.write_text(written[name] + "\n")

    assert read(path, signature) == {"x": rows}


def test_lines_of_text(tmp_path: Path) -> None:
    """Each line is a row, as it is; an empty line is a row too."""
    (tmp_path / "reviews.txt").write_bytes(b"good\r\n\ncaf\xc3\xa9\n[not json")

    assert read(tmp_path / "reviews.txt", TEXT) == {"text": [b"good", b"", b"caf\xc3\xa9", b"[not json"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("reviews.txt", b"good\ncaf\xe9\n"),
        ("reviews.csv", b"text\ngood\ncaf\xe9\n"),
        ("reviews.csv", b'text\n"good"\n"caf\xe9"\n'),
        ("reviews.jsonl", b'"good"\n"caf\xe9"\n'),
        ("reviews.jsonl", b'"good"\n"\\ud800"\n'),
    ],
)
def test_text_that_is_not_utf8(tmp_path: Path, name: str, content: bytes) -> None:
    """Latin-1, and escapes that no UTF-8 text can hold, are refused with the number of the row."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(InvalidInput, match=r"row 2: .*not UTF-8 text") as caught:
        read(tmp_path / name, TEXT)

    assert ("iconv" if b"ud800" in content else "--encoding cp1252") in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.jsonl", b'{"text": "a"}\n{"text": "b", "text": "c"}\n'),
        ("t.jsonl", b'{"text": "a"}\n{"text" : "b:", "other": [1], "text":"c"}\n'),
        ("t.jsonl", b'{"text": "a"}\n{"text": NaN, "text": "c"}\n'),
    ],
)
def test_a_name_twice_in_one_json_line(tmp_path: Path, name: str, content: bytes) -> None:
    """It is an error with the number of the row, as in an argument; neither value is chosen."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match="row 2: JSON that has 'text' twice"):
        read(tmp_path / name, TEXT)


def test_a_name_twice_in_a_json_document(tmp_path: Path) -> None:
    """Also in a nested object."""
    (tmp_path / "t.json").write_bytes(b'{"inputs": {"text": ["a"], "text": ["b"]}}')
    with pytest.raises(InvalidInput, match=r"t\.json is JSON that has 'text' twice"):
        read(tmp_path / "t.json", TEXT)


def test_colons_in_json_lines_are_not_names(tmp_path: Path) -> None:
    """Colons, also after quotation marks, in strings; and objects in objects."""
    lines = [b'{"text": "at 10:30: \\"x\\": 1"}', b'{"text": {"b64": "YQ=="}}', b'{"text": "\\": \\":"}']
    (tmp_path / "t.jsonl").write_bytes(b"\n".join(lines))
    assert read(tmp_path / "t.jsonl", TEXT) == {"text": [b'at 10:30: "x": 1', b"a", b'": ":']}


@pytest.mark.parametrize("content", ["1\n2\n", "5.1,3.5,1.4\n1,2,3\n", "1,1e400,3\n1,2,3\n", "3,1,2\n1,2,3\n"])
def test_a_first_line_of_numbers_is_not_a_header(tmp_path: Path, content: str) -> None:
    """The first row would be lost without a word."""
    (tmp_path / "rows.csv").write_text(content)
    inputs = TensorSpec("x", "float32", (None, 3) if "," in content else (None,))
    with pytest.raises(InvalidInput, match=r"the first line of rows\.csv has ") as refused:
        read(tmp_path / "rows.csv", Signature("s", (inputs,), ()))
    assert refused.value.hint == "add --no-header if the first line is a row"


@pytest.mark.parametrize("header", ["0,1,2", "1,2,3", "a,b,c"])
def test_columns_by_their_order(tmp_path: Path, header: str) -> None:
    """Consecutive integers, as pandas writes them, are names."""
    (tmp_path / "rows.csv").write_text(f"{header}\n4,5,6\n")
    vector = Signature("s", (TensorSpec("x", "float32", (None, 3)),), ())
    assert read(tmp_path / "rows.csv", vector) == {"x": [[4, 5, 6]]}


def test_a_missing_column_and_a_number_as_a_name(tmp_path: Path) -> None:
    """The first line may be a row."""
    (tmp_path / "rows.csv").write_text("50,Paris\n40,Lyon\n")
    with pytest.raises(InvalidInput, match="no column 'area'") as refused:
        read(tmp_path / "rows.csv", PAIRS)
    assert refused.value.hint == "if the first line is a row, add --no-header --column area=1 --column city=2"


def test_a_header_that_is_not_utf8(tmp_path: Path) -> None:
    """No column can be matched by a name that cannot be read."""
    (tmp_path / "x.csv").write_bytes(b"caf\xe9\na\n")

    with pytest.raises(InvalidInput, match=r"the header of x\.csv is not UTF-8 text"):
        read(tmp_path / "x.csv", TEXT)


@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
def test_json_numbers_out_of_range(tmp_path: Path, name: str) -> None:
    """They would become Infinity."""
    (tmp_path / name).write_text('[{"x": 1e400}]' if name == "x.json" else '{"x": 1e400}')

    with pytest.raises(InvalidInput, match="JSON with a number out of range: 1e400 is too large"):
        read(tmp_path / name, NUMBERS)


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (b"one\ntwo\n", [b"one", b"two"]),
        (b"\xef\xbb\xbfone\ntw\ro\r\n", [b"one", b"tw\ro"]),
        (b'{"text": "one"}\n["two"]\n"three"\n', [b'{"text": "one"}', b'["two"]', b'"three"']),
        (b'{"instances": ["one",\n"two"]}\n', [b'{"instances": ["one",', b'"two"]}']),
        (b"[sic] one\n\ntext=two\n42\n", [b"[sic] one", b"", b"text=two", b"42"]),
        (gzip.compress(b"one\ntwo\n"), [b"one", b"two"]),
    ],
)
def test_lines_of_stdin_are_text(monkeypatch: pytest.MonkeyPatch, typed: bytes, wanted: list[bytes]) -> None:
    """Each line is text, however it begins, also in gzip."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(typed))))

    assert read("-", TEXT) == {"text": wanted}


@pytest.mark.parametrize(
    ("chosen", "typed"),
    [
        ("jsonl", b'{"text": "one"}\n{"text": "two"}\n'),
        ("json", b'[{"text": "one"},\n{"text": "two"}]'),
        ("json", b'{"instances": ["one", "two"]}\n'),
        ("json", b'{\n"inputs": {"text":\n["one", "two"]}}\n'),
        ("csv", b"text\none\ntwo\n"),
    ],
)
def test_the_format_of_stdin_is_an_option(monkeypatch: pytest.MonkeyPatch, chosen: Format, typed: bytes) -> None:
    """JSON lines, JSON documents and CSV are read from stdin if the user says so."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(typed))))

    assert read("-", TEXT, format=chosen) == {"text": [b"one", b"two"]}


@pytest.mark.parametrize(
    ("signature", "lines", "wanted"),
    [
        (NUMBERS, "1\n2.5\n", {"x": [1.0, 2.5]}),
        (NUMBERS, '1\nx=2\n{"x": 3}\n', {"x": [1.0, 2.0, 3.0]}),
        (NUMBERS, '{"instances": [4]}\n', {"x": [4.0]}),
        (PAIRS, 'area=1 city=New York\n{"area": 2, "city": "b"}\n', {"area": [1.0, 2.0], "city": [b"New York", b"b"]}),
    ],
)
def test_lines_for_other_signatures(
    tmp_path: Path, signature: Signature, lines: str, wanted: dict[str, list[object]]
) -> None:
    """A line is a number, JSON or NAME=VALUE pairs."""
    (tmp_path / "rows.txt").write_text(lines)

    assert read(tmp_path / "rows.txt", signature) == wanted


@pytest.mark.parametrize(
    ("signature", "line", "message"),
    [
        (NUMBERS, "great", "x is text"),
        (NUMBERS, "", "x is empty"),
        (NUMBERS, "[2", "x is text"),
        (NUMBERS, '{"x": 2', "is not JSON"),
        (NUMBERS, "[2, 3]", r"shape \[2\]"),
        (NUMBERS, '{"instances": [2, 3]}', "is not one row"),
        (NUMBERS, '{"inputs": [2]}', "is not one row"),
        (NUMBERS, "y=2", "no input 'y'"),
        (PAIRS, "area=2", "no value for city"),
        (PAIRS, '{"area": [2, 3], "city": ["a", "b"]}', r"shape \[2\]"),
        (PAIRS, "2", "does not name one of the 2 inputs"),
    ],
)
def test_a_line_that_is_not_a_row(tmp_path: Path, signature: Signature, line: str, message: str) -> None:
    """The error has the number of the line, which is that of the row."""
    first = "1" if signature is NUMBERS else "area=1 city=a"
    (tmp_path / "rows.txt").write_text(f"{first}\n{line}\n{first}\n")

    with pytest.raises(InvalidInput, match=rf"rows.txt row 2: .*{message}"):
        read(tmp_path / "rows.txt", signature)


def test_records_that_the_model_parses_itself(tmp_path: Path) -> None:
    """A model of one string input gets each record as it is."""
    examples(tmp_path / "x.tfrecord")
    signature = Signature("serving_default", (TensorSpec("examples", "string", (None,)),), ())

    (first, *_) = read(tmp_path / "x.tfrecord", signature)["examples"]

    assert protos.Example.FromString(first).features.feature["area"].float_list.value[:] == [120]


def test_images_are_decoded_in_the_order_of_their_names(tmp_path: Path) -> None:
    """A directory, a pattern and a file: decoded in the order of their names, resized, with the names as labels."""
    for name, grey in (("b.png", 20), ("a.jpg", 10), ("deep/c.png", 30)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (5, 7), grey).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")

    assert [image[0][0] for image in read(tmp_path, PIXELS)["image"]] == [[10] * 3, [20] * 3, [30] * 3]
    assert [image[0][0] for image in read(tmp_path / "*.png", PIXELS)["image"]] == [[20] * 3]
    assert [image[0][0] for image in read(tmp_path / "b.png", PIXELS)["image"]] == [[20] * 3]
    with pytest.raises(NotFound, match="no images"):
        read(tmp_path / "*t*", TEXT)
    assert read(tmp_path / "*.txt", TEXT, format="images") == {"text": [b"no image"]}
    (batch,) = shape_rows(open_source(str(tmp_path), PIXELS), PIXELS)
    assert [Path(name.decode()).name for name in batch.labels["file"]] == ["a.jpg", "b.png", "c.png"]


def test_a_large_file_is_read_in_blocks(tmp_path: Path) -> None:
    """No block is large, and their part of the whole rises to 1."""
    (tmp_path / "x.csv").write_text("text\n" + "a few words of a review\n" * 30_000)

    blocks = list(open_source(str(tmp_path / "x.csv"), TEXT).blocks())

    assert max(block.count for block in blocks) <= 8192
    assert sum(block.count for block in blocks) == 30_000
    parts = [block.fraction_read or 0 for block in blocks]
    assert parts == sorted(parts)
    assert parts[0] < 1
    assert parts[-1] == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"", "is empty"),
        ("x.csv", b"a,b,a\n1,2,3\n", "two columns called 'a'"),
        ("x.npy", b"text", "is not an .npy file"),
        ("x.npz", b"text", "is not an .npz file"),
        ("x.parquet", b"text", "is not a readable Parquet file"),
        ("x.tfrecord", b"12345678901234567890", "Is this even a TFRecord file"),
        ("x.json", b"[1,", "not JSON"),
        ("x.json", b'"text"', "holds no rows"),
        ("x.json", b'{"a": [1], "b": [1, 2]}', "different numbers of rows: a 1, b 2"),
        ("x.csv.gz", b"text", "Not a gzipped file"),
        ("x.doc", b"", "cannot tell the format of x.doc"),
        ("x.xlsx", b"", "no reader for .xlsx files"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_one_error(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    """A file that is not what its name says ends in one error."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(InvalidInput, match=message) as refused:
        read(tmp_path / name, TEXT)
    assert "--format jsonl reads" not in refused.value.hint


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("x.XLSX", "save the sheet as CSV"),
        ("x.pkl", "DataFrame.to_csv"),
        ("x.feather", "DataFrame.to_parquet"),
        ("x.h5", "numpy.savez"),
        ("x.zip", "unpack it first"),
        ("x.csv.bz2", "unpack it first"),
    ],
)
def test_files_of_other_programs_are_refused_with_a_format_to_save(tmp_path: Path, name: str, hint: str) -> None:
    """No --format reads them."""
    (tmp_path / name).write_bytes(b"PK")

    with pytest.raises(InvalidInput, match="no reader for") as refused:
        read(tmp_path / name, TEXT)
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("pattern", "message", "hint"),
    [
        (
            "*.csv",
            "a pattern stands for images only, and {0}/*.csv matches {0}/a b.csv and 1 more",
            "--file '{0}/a b.csv'",
        ),
        ("[b]*.csv", "a pattern stands for images only, and {0}/[b]*.csv matches {0}/b.csv", "--file {0}/b.csv"),
        ("b[1].csv", "there is no file {0}/b[1].csv", "did you mean {0}/b.csv?"),
        ("*.jsonl", "there is no file {0}/*.jsonl", ""),
    ],
)
def test_a_pattern_of_other_files_than_images_is_refused(tmp_path: Path, pattern: str, message: str, hint: str) -> None:
    """The error names a file that it matches. A name with brackets may be meant as it is."""
    (tmp_path / "a b.csv").write_text("x\n1\n")
    (tmp_path / "b.csv").write_text("x\n1\n")
    with pytest.raises(NotFound) as refused:
        read(tmp_path / pattern, NUMBERS)
    assert (refused.value.message, refused.value.hint) == (message.format(tmp_path), hint.format(tmp_path))


@pytest.mark.parametrize("location", ["nothing.csv", "nothing/*.png"])
def test_a_path_or_pattern_without_files_is_not_found(tmp_path: Path, location: str) -> None:
    """A file or pattern that leads nowhere is not found."""
    with pytest.raises(NotFound, match="nothing"):
        read(tmp_path / location, PIXELS)


def test_a_url_is_not_a_file_of_this_machine() -> None:
    """The error shows it as it was typed."""
    with pytest.raises(NotFound, match=r"^s3://bucket/rows\.csv is not a file of this machine$") as refused:
        open_source("s3://bucket/rows.csv", PAIRS)
    assert refused.value.hint == "copy the file to this machine first"


@pytest.mark.parametrize("header", ["area,city", '"city";"area"', "area\tcity\tid"])
def test_cells_in_lines_of_text_have_a_hint(tmp_path: Path, header: str) -> None:
    """Standard input is read as lines of text unless --format says something else."""
    (tmp_path / "rows.txt").write_text(f"{header}\n50,Paris\n")
    with pytest.raises(InvalidInput, match=r"rows\.txt row 1: ") as refused:
        read(tmp_path / "rows.txt", PAIRS)
    assert refused.value.hint == "--format csv reads rows of cells"
