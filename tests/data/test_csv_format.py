"""CSV files as Excel, LibreOffice and pandas write them: delimiters, decimal commas, encodings, headers, gaps."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tfsctl.core.batches import concatenate
from tfsctl.core.types import Signature, TensorSpec
from tfsctl.data.csv_format import TextFormat, detect_delimiter, parse_delimiter, parse_encoding
from tfsctl.data.shaping import KeptColumns, shape_rows
from tfsctl.data.sources import open_source
from tfsctl.errors import InvalidInput

HOUSES = Signature("s", (TensorSpec("area", "float32", (None,)), TensorSpec("city", "string", (None,))), ())
NUMBER = Signature("s", (TensorSpec("x", "float32", (None,)),), ())
COLUMN = Signature("s", (TensorSpec("x", "float32", (None, 1)),), ())
WHOLE = Signature("s", (TensorSpec("x", "int64", (None,)),), ())
ROWS = Signature("s", (TensorSpec("x", "float32", (None, 3)),), ())
TEXT = Signature("s", (TensorSpec("text", "string", (None,)),), ())
COMPLEX = Signature("s", (TensorSpec("x", "complex64", (None,)),), ())


def read(path: Path, signature: Signature, notes: list[str] | None = None, **options: Any) -> dict[str, list[Any]]:
    """All rows of a file, as lists by input."""
    source = open_source(str(path), signature, text_format=TextFormat(**options), note=(notes or []).append)
    return {name: array.tolist() for name, array in concatenate(list(shape_rows(source, signature))).arrays.items()}


@pytest.mark.parametrize(
    "content",
    [
        "area,city\n1.5,Bern\n-2,Zürich\n",
        "\ufeffarea;city\r\n1,5;Bern\r\n-2;Zürich\r\n",
        "sep=;\r\narea;city\r\n1,5;Bern\r\n-2;Zürich\r\n",
        "\ufeffsep=;\r\ncity;area;\r\nBern;1,5;\r\nZürich;-2;\r\n",
        '"sep=|"\narea|city\n1.5|Bern\n-2|Zürich\n',
        "area\tcity\n1,5\tBern\n-2,0\tZürich\n",
        "area\tcity\n1.5\tBern\n-2\tZürich\n",
        "area|city\n1.5|Bern\n-2|Zürich\n",
        'area;city\n"1,5";"Bern"\n"-2";"Zürich"\n',
        "area;city;note\n1.5;Bern;a, b\n-2;Zürich;c, d, e\n",
        "area;city\n1.5;Bern\n\n-2e0;Zürich\n\n",
        ",area,city\n0,1.5,Bern\n1,-2,Zürich\n",
        "area,city,,\n1.5,Bern,,\n-2,Zürich,,\n",
        "area,city\n1.5,Bern,\n-2,Zürich,,\n",
    ],
)
def test_delimiters_and_decimal_marks_are_detected(tmp_path: Path, content: str) -> None:
    """Each of these is the same table."""
    (tmp_path / "t.csv").write_bytes(content.encode())

    assert read(tmp_path / "t.csv", HOUSES) == {"area": [1.5, -2.0], "city": [b"Bern", "Zürich".encode()]}


def test_quoted_cells_with_delimiters_and_line_breaks(tmp_path: Path) -> None:
    """Quoting works with every delimiter, also in the lines that show the delimiter."""
    (tmp_path / "t.csv").write_text('"city";area\n"Bern;\n""CH"", x";1,5\n"a\n\n;b";2\n', encoding="utf-8")

    assert read(tmp_path / "t.csv", HOUSES) == {"area": [1.5, 2.0], "city": [b'Bern;\n"CH", x', b"a\n\n;b"]}


def test_a_detected_delimiter_is_noted(tmp_path: Path) -> None:
    """Anything else than a comma is."""
    (tmp_path / "t.csv").write_text("x;y\n1;2\n")
    notes: list[str] = []
    source = open_source(str(tmp_path / "t.csv"), NUMBER, note=notes.append)
    list(shape_rows(source, NUMBER))

    assert notes == ["t.csv: cells are separated by semicolons"]


@pytest.mark.parametrize(
    ("lines", "delimiter"),
    [
        (["a\n", "1,5\n"], ","),
        (["a,b;c,d\n", "1,2;3,4\n"], ","),
        (["name, first;name, last\n", "a;b\n"], ";"),
        (["a;b,c\n", "1;2\n", "3;4\n"], ";"),
        ([], ","),
    ],
)
def test_the_delimiter_with_equal_numbers_of_cells_is_detected(lines: list[str], delimiter: str) -> None:
    """The delimiter that gives all lines the same number of cells."""
    assert detect_delimiter(lines) == delimiter


@pytest.mark.parametrize("signature", [NUMBER, COLUMN], ids=["scalar", "column"])
@pytest.mark.parametrize(
    ("cell", "options", "expected"),
    [
        ("1,5", {}, 1.5),
        ("1,234", {}, "may be a decimal mark or a thousands separator"),
        ("1,234", {"decimal": ","}, 1.234),
        ("1,234", {"decimal": "."}, "may be a decimal mark or a thousands separator"),
        ("1,234,567", {}, "may be a decimal mark or a thousands separator"),
        ("1.234,5", {}, "the decimal mark of this column is the comma"),
        ("1,234.5", {}, "may be a decimal mark or a thousands separator"),
        ("1.234", {}, 1.234),
        ("1.234", {"decimal": ","}, "the decimal mark of this column is the comma"),
        ("0,123", {}, 0.123),
        (",5", {}, 0.5),
        ("-1,5e3", {}, -1500.0),
        ("1 234,5", {}, "x"),
        ("1'234.5", {}, "is text"),
        ("1_000", {}, "is text"),
        ("1e400", {}, "too large"),
        ("NaN", {}, math.nan),
    ],
)
def test_no_number_is_misread(
    tmp_path: Path, signature: Signature, cell: str, options: dict[str, Any], expected: float | str
) -> None:
    """A number is what was meant, or an error that names the row and the cure."""
    (tmp_path / "t.csv").write_text(f"x;y\n{cell};1\n", encoding="utf-8")

    if isinstance(expected, str):
        with pytest.raises(InvalidInput, match=expected) as caught:
            read(tmp_path / "t.csv", signature, **options)
        assert "t.csv row 1: " in caught.value.message
    else:
        values = np.array(read(tmp_path / "t.csv", signature, **options)["x"])
        np.testing.assert_array_equal(values.ravel(), np.array([expected], np.float32))


def test_a_comma_behind_integers_is_refused(tmp_path: Path) -> None:
    """The first rows decide on the decimal mark; a later comma is not guessed."""
    (tmp_path / "t.csv").write_text("x;y\n" + "1;2\n" * 2000 + "1,5;2\n")

    with pytest.raises(InvalidInput, match=r"t\.csv row 2001: x is '1,5'") as caught:
        read(tmp_path / "t.csv", NUMBER)
    assert "--decimal ," in caught.value.hint
    assert read(tmp_path / "t.csv", NUMBER, decimal=",")["x"][2000] == 1.5


def test_a_column_with_both_marks_is_refused(tmp_path: Path) -> None:
    """Neither mark can be right for all cells."""
    (tmp_path / "t.csv").write_text("x;y\n1.5;2\n1,5;2\n")

    with pytest.raises(InvalidInput, match=r"t\.csv row 2: x is '1,5'"):
        read(tmp_path / "t.csv", NUMBER)


def test_rows_of_several_numbers(tmp_path: Path) -> None:
    """A cell may hold a list; a comma in it separates, unless --decimal says otherwise."""
    (tmp_path / "t.csv").write_text('x,y\n"1,2,3",a\n"[4, 5, 6]",b\n')
    assert read(tmp_path / "t.csv", ROWS) == {"x": [[1, 2, 3], [4, 5, 6]]}

    (tmp_path / "t.csv").write_text("x;y\n1,5 2,5 3,5;a\n")
    assert read(tmp_path / "t.csv", ROWS, decimal=",") == {"x": [[1.5, 2.5, 3.5]]}
    (tmp_path / "t.csv").write_text("x_0;x_1;x_2\n1,5;2,5;3\n")
    assert read(tmp_path / "t.csv", ROWS) == {"x": [[1.5, 2.5, 3.0]]}


def test_cells_with_several_values_for_any_number_of_values(tmp_path: Path) -> None:
    """Two cells with two values each are two rows, not four."""
    (tmp_path / "t.csv").write_text('x\n"1,5"\n"2,6"\n')
    any_length = Signature("s", (TensorSpec("x", "float32", (None, None)),), ())

    assert read(tmp_path / "t.csv", any_length) == {"x": [[1.0, 5.0], [2.0, 6.0]]}


def test_complex_numbers_are_read_as_python_and_mathematicians_write_them(tmp_path: Path) -> None:
    """As Python and as mathematicians write them."""
    (tmp_path / "t.csv").write_text("x\n1+2j\n-3i\n2.5\n")

    assert read(tmp_path / "t.csv", COMPLEX) == {"x": [1 + 2j, -3j, 2.5]}


@pytest.mark.parametrize(
    ("encoding", "option"),
    [
        ("cp1252", "cp1252"),
        ("latin-1", "latin-1"),
        ("utf-16", None),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-32", None),
        ("utf-8-sig", None),
        ("utf-8-sig", "utf-8"),
        ("cp437", "cp437"),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.jsonl", "t.txt", "t.json"])
def test_an_encoding_is_that_of_the_option_or_the_byte_order_mark(
    tmp_path: Path, encoding: str, option: str | None, name: str
) -> None:
    """An option or a byte order mark names the encoding, in every format of text."""
    text = {
        "t.csv": "text\ncafé\nñ\n",
        "t.csv.gz": "text\ncafé\nñ\n",
        "t.jsonl": '{"text": "café"}\n{"text": "ñ"}\n',
        "t.txt": "café\nñ\n",
        "t.json": '["café", "ñ"]',
    }[name]
    content = text.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    assert read(tmp_path / name, TEXT, encoding=option) == {"text": ["café".encode(), "ñ".encode()]}


def test_a_large_file_in_another_encoding(tmp_path: Path) -> None:
    """Characters that are split between two blocks are whole again."""
    texts = [f"{'é' * (at % 97)} {at}" for at in range(20_000)]
    (tmp_path / "t.txt").write_bytes("\n".join(texts).encode("utf-16"))

    assert read(tmp_path / "t.txt", TEXT) == {"text": [text.encode() for text in texts]}


@pytest.mark.parametrize(
    ("content", "option", "message", "hint"),
    [
        (b"text\ncaf\xe9\n", None, r"t\.csv row 1: text is not UTF-8 text", "--encoding cp1252"),
        (b"caf\xe9\n1\n", None, r"the header of t\.csv is not UTF-8 text", "--encoding cp1252"),
        ("text\na\n".encode("utf-16-le"), None, r"the header of t\.csv is not UTF-8 text", "--encoding utf-16-le"),
        ("text\na\n".encode("utf-16-be"), None, r"the header of t\.csv is not UTF-8 text", "--encoding utf-16-be"),
        (b'text\n"a\nb\n', None, r"t\.csv row 1: line 3: a quotation mark is not closed", "--on-error skip"),
        (b"text\na\n\x81\n", "cp1252", r"t\.csv line 3 is not cp1252 text \(byte 0x81\)", "--encoding"),
        (b"text\na\n\x93quoted\x94\n", "latin-1", r"t\.csv line 3 has the byte 0x93, a control", "--encoding cp1252"),
        (b"text\ncaf\xe9\n", "utf-8", r"t\.csv line 2 is not utf-8 text \(byte 0xe9\)", "--encoding"),
        (b"text\ncaf\xe9\n", "ascii", r"t\.csv line 2 is not ascii text", "--encoding"),
        ("text\na".encode("utf-16")[:-1], None, r"t\.csv line 2 is not utf-16 text", "--encoding"),
    ],
)
def test_bytes_of_another_encoding_are_located_with_a_hint(
    tmp_path: Path, content: bytes, option: str | None, message: str, hint: str
) -> None:
    """An error that names the place and the cure."""
    (tmp_path / "t.csv").write_bytes(content)

    with pytest.raises(InvalidInput, match=message) as caught:
        read(tmp_path / "t.csv", TEXT, encoding=option)
    assert hint in caught.value.hint


def test_a_file_without_a_header(tmp_path: Path) -> None:
    """Columns are called by their numbers; a single one, or as many as a row has values, is matched."""
    path = tmp_path / "t.csv"
    path.write_text("1.5;Bern\n2;Basel\n")
    source = open_source(str(path), HOUSES, text_format=TextFormat(has_header=False))
    (batch,) = shape_rows(source, HOUSES, renamed={"area": "1", "city": "2"}, keep=KeptColumns(["2"]))
    assert batch.arrays["area"].tolist() == [1.5, 2.0]
    assert batch.labels["2"].tolist() == [b"Bern", b"Basel"]
    with pytest.raises(InvalidInput, match="no column 'area'") as caught:
        read(path, HOUSES, has_header=False)
    assert caught.value.hint.startswith("--column area=1 --column city=2")

    path.write_text("1\n2\n")
    assert read(path, NUMBER, has_header=False) == {"x": [1, 2]}
    path.write_text("1,2,3\n4,5,6\n")
    assert read(path, ROWS, has_header=False) == {"x": [[1, 2, 3], [4, 5, 6]]}


def test_missing_values_are_nan_for_floats_and_refused_for_other_inputs(tmp_path: Path) -> None:
    """--na is NaN for floats, and refused for other inputs; without it the error names the option."""
    path = tmp_path / "t.csv"
    path.write_text("x,y\nNA,1\n,2\n3,4\n")
    with pytest.raises(InvalidInput, match="row 1: x is 'NA'") as caught:
        read(path, NUMBER)
    assert caught.value.hint == "--na NA reads it as NaN"
    with pytest.raises(InvalidInput, match="row 2: x is empty") as caught:
        read(path, NUMBER, missing=frozenset({"NA"}))
    assert "--na ''" in caught.value.hint
    np.testing.assert_array_equal(read(path, NUMBER, missing=frozenset({"NA", ""}))["x"], [math.nan, math.nan, 3])

    with pytest.raises(InvalidInput, match="row 1: x is missing, and int64 has no value for missing cells"):
        read(path, WHOLE, missing=frozenset({"NA"}))
    path.write_text("text\nNA\n")
    assert read(path, TEXT) == {"text": [b"NA"]}
    with pytest.raises(InvalidInput, match="row 1: text is missing"):
        read(path, TEXT, missing=frozenset({"NA"}))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("t.jsonl", {"delimiter": ";"}, "--delimiter applies to CSV files, but the format is jsonl"),
        ("t.npy", {"has_header": False}, "--no-header applies to CSV files, but the format is npy"),
        ("t.npy", {"encoding": "utf-16"}, "--encoding applies to text files, but the format is npy"),
    ],
)
def test_options_of_other_formats_are_refused(tmp_path: Path, name: str, options: dict[str, Any], message: str) -> None:
    """An option that would have no effect is an error."""
    (tmp_path / name).touch()

    with pytest.raises(InvalidInput, match=message):
        read(tmp_path / name, NUMBER, **options)


def test_a_text_file_with_csv_options_is_csv(tmp_path: Path) -> None:
    """Excel calls its tab-separated files .txt."""
    (tmp_path / "t.txt").write_bytes("x\ty\n1,5\ta\n".encode("utf-16"))

    assert read(tmp_path / "t.txt", NUMBER, delimiter="\t") == {"x": [1.5]}


@pytest.mark.parametrize(("text", "delimiter"), [(";", ";"), ("tab", "\t"), ("\\t", "\t"), ("Pipe", "|"), ("^", "^")])
def test_delimiter_names(text: str, delimiter: str) -> None:
    """Characters that are hard to type in a shell have names."""
    assert parse_delimiter(text) == delimiter


@pytest.mark.parametrize("text", ["", ";;", '"', "\n"])
def test_text_that_is_no_delimiter_is_refused(text: str) -> None:
    """One character that is no quote."""
    with pytest.raises(InvalidInput, match="is not one character"):
        parse_delimiter(text)


@pytest.mark.parametrize("text", ["utf9", "base64", "rot13", "", "\0"])
def test_codecs_that_do_not_decode_text_are_refused(text: str) -> None:
    """Codecs that do not decode text are not encodings."""
    with pytest.raises(InvalidInput, match="is not a known text encoding"):
        parse_encoding(text)


def test_kept_columns_have_the_text_or_type_of_the_file(tmp_path: Path) -> None:
    """Text as it is in the file; values of JSON with their type."""
    (tmp_path / "t.csv").write_text("id;x;when\n007;1,5;2026-01-01\n08;2;\n")
    source = open_source(str(tmp_path / "t.csv"), NUMBER)
    (batch,) = shape_rows(source, NUMBER, keep=KeptColumns(["when,id"]))
    assert {name: array.tolist() for name, array in batch.labels.items()} == {
        "when": [b"2026-01-01", b""],
        "id": [b"007", b"08"],
    }

    (tmp_path / "t.jsonl").write_text('{"id": 7, "x": 1}\n{"x": 2}\n{"id": "a", "x": 3, "more": [1]}\n')
    source = open_source(str(tmp_path / "t.jsonl"), NUMBER)
    (batch,) = shape_rows(source, NUMBER, keep=KeptColumns(["all"]))
    assert {name: array.tolist() for name, array in batch.labels.items()} == {
        "id": [b"7", b"null", b"a"],
        "x": [b"1", b"2", b"3"],
        "more": [b"null", b"null", b"[1]"],
    }


def test_kept_columns_of_parquet(tmp_path: Path) -> None:
    """Dates are text; lists, numbers and nulls keep their type."""
    table = {"x": [1.0, 2.0], "day": [dt.date(2026, 1, 2), None], "ids": [[1], None], "n": [7, 8], "m": [1, None]}
    parquet.write_table(pa.table(table), tmp_path / "t.parquet")
    (batch,) = shape_rows(open_source(str(tmp_path / "t.parquet"), NUMBER), NUMBER, keep=KeptColumns(["day,ids,n,m"]))

    assert {name: array.tolist() for name, array in batch.labels.items()} == {
        "day": [b"2026-01-02", b"null"],
        "ids": [b"[1]", b"null"],
        "n": [7, 8],
        "m": [b"1", b"null"],
    }


def test_kept_text_lines_are_called_like_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines without a name are the values of the only input."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"great\nbad\n")))
    (batch,) = shape_rows(open_source("-", TEXT), TEXT, keep=KeptColumns(["all"]))

    assert batch.labels["text"].tolist() == [b"great", b"bad"]


@pytest.mark.parametrize(
    ("keep", "message", "hint"),
    [
        (KeptColumns(["idd"]), "--keep idd: t.csv has no such column, only id, x", "--keep id"),
        (KeptColumns(["id,zip"]), "--keep zip: t.csv has no such column", "--keep all keeps all columns"),
        (
            KeptColumns(["all"], {"x"}),
            "--keep: x of t.csv has the same name as a column of the results",
            "--keep id keeps",
        ),
    ],
)
def test_columns_that_cannot_be_kept(tmp_path: Path, keep: KeptColumns, message: str, hint: str) -> None:
    """Unknown columns, and those whose name the results need."""
    (tmp_path / "t.csv").write_text("id,x\n1,2\n")

    with pytest.raises(InvalidInput, match=message) as caught:
        list(shape_rows(open_source(str(tmp_path / "t.csv"), NUMBER), NUMBER, keep=keep))
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(("content", "delimiter"), [("area;city\n1;a\n", "';'"), ("area\tcity\n1\ta\n", "tab")])
def test_a_wrong_delimiter_is_named(tmp_path: Path, content: str, delimiter: str) -> None:
    """The hint has the delimiter that the header shows, and works."""
    (tmp_path / "t.csv").write_text(content)

    with pytest.raises(InvalidInput, match="no column 'area'") as caught:
        read(tmp_path / "t.csv", HOUSES, delimiter=",")
    assert caught.value.hint == f"--delimiter {delimiter} separates the cells there"
    assert read(tmp_path / "t.csv", HOUSES, delimiter=parse_delimiter(delimiter.strip("'")))["area"] == [1.0]
