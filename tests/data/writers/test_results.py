"""Result files: other readers can read them, they appear when complete, and runs can be resumed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfsctl.core.arrays import object_array
from tfsctl.core.json_strings import JsonText
from tfsctl.data.writers.results import open_writer, write_results
from tfsctl.data.writers.text_lines import delimited_lines, json_lines
from tfsctl.errors import InvalidInput

FLOATS = np.array([0.1, 1e-7, 16777216, np.nan, -np.inf], np.float32)
COLUMNS: dict[str, np.ndarray] = {
    "score": FLOATS[:, None],
    "classes": np.arange(10).reshape(5, 2),
    "is_good": np.array([True, False, True, True, False]),
    "name": object_array([b"a", b'b "quoted", c', "ü\n".encode(), b"", b"\xff"]),
    "grid": np.arange(20, dtype=np.float64).reshape(5, 2, 2) / 8,
}


def write(path: Path, *parts: dict[str, np.ndarray], lengths: dict[str, int] | None = None) -> None:
    writer = open_writer(path, lengths)
    for part in parts:
        writer.write(part)
    writer.finish(path)


def halves(columns: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    return [{name: array[rows] for name, array in columns.items()} for rows in (slice(2), slice(2, None))]


@pytest.mark.parametrize(("name", "delimiter"), [("r.csv", ","), ("r.tsv", "\t")])
def test_csv_is_what_other_readers_read(tmp_path: Path, name: str, delimiter: str) -> None:
    """A header, one cell per value, lists as JSON, and the digits a float32 needs."""
    write(tmp_path / name, *halves(COLUMNS))

    with (tmp_path / name).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        header, *rows = csv.reader(file, delimiter=delimiter)
    assert header == list(COLUMNS)
    assert [row[0] for row in rows] == ["0.1", "1e-7", "16777216.0", "NaN", "-Infinity"]
    assert [row[1] for row in rows] == ["[0,1]", "[2,3]", "[4,5]", "[6,7]", "[8,9]"]
    assert [row[2] for row in rows] == ["true", "false", "true", "true", "false"]
    assert [row[3].encode("utf-8", "surrogateescape") for row in rows] == COLUMNS["name"].tolist()
    assert json.loads(rows[4][4]) == [[2.0, 2.125], [2.25, 2.375]]


def test_json_lines_hold_each_row_as_it_is(tmp_path: Path) -> None:
    """One object per row; NaN and Infinity are bare, text that is not UTF-8 is b64, as in TensorFlow Serving."""
    write(tmp_path / "r.jsonl", *halves(COLUMNS))

    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [list(row) for row in rows] == [list(COLUMNS)] * 5
    assert [row["score"] for row in rows[:3]] == [[0.1], [1e-7], [16777216.0]]
    assert np.isnan(rows[3]["score"][0])
    assert rows[4]["score"] == [-np.inf]
    assert [row["name"] for row in rows] == ["a", 'b "quoted", c', "ü\n", "", {"b64": "/w=="}]
    assert rows[4]["grid"] == COLUMNS["grid"][4].tolist()
    assert rows[0]["is_good"] is True


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint64", "bool", "complex64"])
@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 2, 2), (0,), (0, 3)])
def test_arrays_come_back(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    """What was written in parts is one array of the same dtype."""
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    write(tmp_path / "r.npy", {"y": array[:1]}, {"y": array[1:]})
    write(tmp_path / "r.npz", {"y": array[:1], "z": array[:1]}, {"y": array[1:], "z": array[1:]})

    with np.load(tmp_path / "r.npz") as several:
        found = [np.load(tmp_path / "r.npy"), several["y"], several["z"]]
    for back in found:
        assert back.dtype == dtype
        assert back.shape == shape
        assert (back == array).all()
    assert sorted(path.name for path in tmp_path.glob("r.*")) == ["r.npy", "r.npz"]


@pytest.mark.parametrize("name", ["r.csv", "r.tsv", "r.jsonl", "r.npy", "r.npz"])
def test_output_appears_when_complete(tmp_path: Path, name: str) -> None:
    """The old file stays until the new one is complete; a resumed run continues at the checkpoint."""
    path = tmp_path / name
    path.write_text("what was there before")
    first, second = halves({"score": FLOATS[:, None]})
    writer = open_writer(path)
    writer.write(first)
    lengths = writer.flush()
    writer.write({"score": np.array([[666.0]], np.float32)})  # written, and not noted: it goes
    writer.close()

    assert path.read_text() == "what was there before"
    write(path, second, lengths=lengths)
    write(tmp_path / f"whole_{name}", {"score": FLOATS[:, None]})
    if name == "r.npz":  # the archive notes the time
        with np.load(path) as found:
            assert np.array_equal(found["score"], FLOATS[:, None], equal_nan=True)
    else:
        assert path.read_bytes() == (tmp_path / f"whole_{name}").read_bytes()


def test_values_that_a_format_cannot_hold(tmp_path: Path) -> None:
    """The hint names a format that can hold them."""
    wrong = {
        "x.npy": ({"x": FLOATS, "y": FLOATS}, "one array, not x, y"),
        "t.npz": ({"name": COLUMNS["name"]}, "name is text"),
        "s.npy": ({"x": np.zeros((2, 4))}, r"shape \[4\] after ones of \[3\]"),
    }
    for file, (columns, message) in wrong.items():
        writer = open_writer(tmp_path / file)
        if file == "s.npy":
            writer.write({"x": np.zeros((2, 3))})
        with pytest.raises(InvalidInput, match=message):
            writer.write(columns)
        writer.close()


@pytest.mark.parametrize(
    ("outputs", "wanted"),
    [
        ({"y": np.array([1, 2])}, "y\n1\n2\n"),
        ({"y": np.array([1, 2]), "total": np.array(3)}, 'y,total\n"[1,2]",3\n'),
        ({"total": np.array(3.5)}, "total\n3.5\n"),
    ],
)
def test_the_answer_to_one_request(tmp_path: Path, outputs: dict[str, Any], wanted: str) -> None:
    """One line per row, or one line if the outputs are not a batch."""
    write_results(tmp_path / "r.csv", outputs)

    assert (tmp_path / "r.csv").read_text() == wanted


def test_control_characters_are_escaped() -> None:
    """Control characters are shown, not sent."""
    name = object_array([b"\x1b[2J", b"plain"])

    assert delimited_lines({"name": name}, "\t", quoted=False) == b'"\\u001b[2J"\nplain\n'
    assert json_lines({"a%b": name}) == b'{"a%b": "\\u001b[2J"}\n{"a%b": "plain"}\n'


def test_safe_csv_neutralises_formulas(tmp_path: Path) -> None:
    """Text that a spreadsheet would run gets an apostrophe, also in the header; numbers stay."""
    texts = ["=1+1", "+cmd", "-2+3", "@SUM", "\t=1", "\r=1", " =1", "\uff1d1", "-5", "+1,5", "-1e5", "a=1", ""]
    columns = {
        "=text": object_array([text.encode() for text in texts]),
        "number": -np.ones(len(texts), np.float32),
        "list": -np.ones((len(texts), 2), np.int64),
    }
    write_results(tmp_path / "r.csv", columns, safe_csv=True)

    with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["'=text", "number", "list"]
    assert [row[0] for row in rows] == [f"'{text}" for text in texts[:8]] + texts[8:]
    assert {(row[1], row[2]) for row in rows} == {("-1.0", "[-1,-1]")}
    write_results(tmp_path / "r.csv", columns)
    assert (tmp_path / "r.csv").read_bytes().startswith(b'=text,number,list\n"=1+1","-1.0",')


def test_kept_values_of_several_types() -> None:
    """JSON values keep their type in JSON lines, and null is an empty cell in CSV."""
    values = object_array([b"text", JsonText(b"7"), JsonText(b"null"), JsonText(b"[1]"), 5])
    columns = {"id": values, "y": np.arange(5)}

    rows = [json.loads(line) for line in json_lines(columns).splitlines()]
    assert [row["id"] for row in rows] == ["text", 7, None, [1], 5]
    assert delimited_lines(columns, ",") == b"text,0\n7,1\n,2\n[1],3\n5,4\n"
    assert delimited_lines(columns, "\t", quoted=False) == b"text\t0\n7\t1\n\t2\n[1]\t3\n5\t4\n"
