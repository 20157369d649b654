"""Columns are matched to inputs and values cast to dtypes; an error names the row that does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfsctl.core.batches import RowBatch, batch_reader
from tfsctl.core.types import Shape, Signature, TensorSpec
from tfsctl.data.shaping import shape_rows
from tfsctl.data.sources import open_source
from tfsctl.errors import InvalidInput


def signature(**inputs: tuple[str, Shape | None]) -> Signature:
    return Signature("serving_default", tuple(TensorSpec(name, *inputs[name]) for name in sorted(inputs)), ())


NUMBER = signature(x=("float32", (None,)))


def batches(path: Path, wanted: Signature, **options: Any) -> list[RowBatch]:
    return list(shape_rows(open_source(str(path), wanted), wanted, **options))


def written(path: Path, *rows: Any) -> Path:
    """A file of JSON lines, or of CSV cells where the path says so."""
    lines = rows if path.suffix == ".csv" else map(json.dumps, rows)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("dtype", "shape", "cell", "wanted"),
    [
        ("float32", (None,), " 1.5 ", 1.5),
        ("float64", (None, 1), "-2", [-2.0]),
        ("float16", (None,), "0.1", float(np.float16(0.1))),
        ("float64", (None,), "-inf", float("-inf")),
        ("int64", (None,), "9007199254740993", 9007199254740993),
        ("int64", (None,), "9007199254740993.0", 9007199254740993),
        ("int64", (None,), "1e3", 1000),
        ("int8", (None,), "-128", -128),
        ("int32", (None,), "3.0", 3),
        ("uint8", (None,), "255", 255),
        ("bool", (None,), "True", True),
        ("bool", (None,), "0", False),
        ("string", (None,), "12", b"12"),
        ("float32", (None, 2), "[1, 2.5]", [1.0, 2.5]),
        ("float32", (None, None), "1 2", [1.0, 2.0]),
        ("int32", (None, 1, 2), "[[1, 2]]", [[1, 2]]),
    ],
)
def test_cells_are_parsed_as_the_input_dtype(tmp_path: Path, dtype: str, shape: Shape, cell: str, wanted: Any) -> None:
    """Numbers, truth values, text and lists in CSV cells."""
    quoted = f'"{cell}"' if "," in cell else cell
    (batch,) = batches(written(tmp_path / "x.csv", "x", quoted), signature(x=(dtype, shape)))

    assert batch.arrays["x"].tolist() == [wanted]


@pytest.mark.parametrize(
    ("dtype", "cell", "message"),
    [
        ("float32", "twelve", r"x.csv row 2: x is text \('twelve'\), but the model wants float32"),
        ("float32", '""', "x.csv row 2: x is empty, but the model wants float32"),
        ("float32", "1_0", r"x.csv row 2: x is text \('1_0'\), but the model wants float32"),
        ("int32", "1_0", r"x.csv row 2: x is text \('1_0'\), but the model wants int32"),
        ("int32", "1.5", "x.csv row 2: x is 1.5, but the model wants int32: a whole number"),
        ("int8", "128", "x.csv row 2: x is 128, but int8 goes from -128 to 127"),
        ("uint8", "-1", "x.csv row 2: x is -1, but uint8 goes from 0 to 255"),
        ("bool", "2", r"x.csv row 2: x is text \('2'\), but the model wants bool"),
        ("float32", "1e400", "x.csv row 2: 1e400 is too large for a number"),
        ("float32", "1e39", r"x.csv row 2: x is 1e\+39, which is too large for float32"),
        ("float16", "65520", "x.csv row 2: x is 65520, which is too large for float16"),
        ("float32", "1 000", r"x.csv row 2: x is text \('1 000'\), but the model wants float32"),
        ("int64", "1e400", "x.csv row 2: 1e400 is too large for a number"),
        ("float32", '"1,2"', "x.csv row 2: x is '1,2', and its comma may be a decimal mark or a thousands separator"),
        ("float32", "1,2", "x.csv row 2: it has 2 cells where the header has 1"),
        ("float32", '"1"2', "x.csv row 2: line 3: "),
    ],
)
def test_a_cell_that_does_not_fit_is_named(tmp_path: Path, dtype: str, cell: str, message: str) -> None:
    """The row's number, what was found and what is wanted."""
    with pytest.raises(InvalidInput, match=f"^{message}"):
        batches(written(tmp_path / "x.csv", "x", "1", cell, "1"), signature(x=(dtype, (None,))))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"x": "1"}, r"row 2: x is text \('1'\)"),
        ({"x": None}, "row 2: x is null"),
        ({"x": [1]}, r"row 2: input 'x' has shape \[1\]"),
        ({"y": 1}, "row 2: there is no value for x"),
        (7, "row 2: the row is not an object"),
    ],
)
def test_a_json_value_that_does_not_fit_is_named(tmp_path: Path, value: Any, message: str) -> None:
    """JSON knows text from numbers."""
    with pytest.raises(InvalidInput, match=message):
        batches(written(tmp_path / "x.jsonl", {"x": 1}, value), NUMBER)


def test_rows_before_one_that_does_not_fit_come_first(tmp_path: Path) -> None:
    """Rows before the error are returned."""
    source = open_source(str(written(tmp_path / "x.csv", "x", "1", "2", "three")), NUMBER)
    take = batch_reader(shape_rows(source, NUMBER))

    assert take(100).arrays["x"].tolist() == [1, 2]  # type: ignore[union-attr]
    with pytest.raises(InvalidInput, match="row 3"):
        take(100)


def test_rows_that_do_not_fit_can_be_skipped(tmp_path: Path) -> None:
    """They are rejects with their number, reason and values; the others keep their numbers."""
    path = written(tmp_path / "x.csv", "x,y", "one,1", "2,2", "3", "4,4", ",5")
    take = batch_reader(batches(path, NUMBER, skip_bad_rows=True))
    first, second, end = take(1), take(1), take(1)

    assert first is not None
    assert second is not None
    assert end is None
    assert (first.rows.tolist(), second.rows.tolist()) == ([2], [4])
    assert [(r.row, r.values) for r in first.rejects] == [(1, {"x": "one"}), (3, {"x": None})]
    assert [r.error for r in second.rejects] == ["x is empty, but the model wants float32"]
    assert (first.last_row, second.last_row) == (3, 5)


def test_rows_of_different_shapes_are_kept_apart(tmp_path: Path) -> None:
    """A batch is a block of numbers; rows of two values and of three are two batches, in order."""
    path = written(tmp_path / "x.jsonl", {"x": [1, 2]}, {"x": [3, 4]}, {"x": [5]}, {"x": [6]}, {"x": [7, 8]})
    wanted = signature(x=("float32", (None, None)))
    take = batch_reader(shape_rows(open_source(str(path), wanted), wanted))
    taken = []
    while (batch := take(100)) is not None:
        taken.append((batch.rows.tolist(), batch.arrays["x"].tolist()))

    assert taken == [([1, 2], [[1, 2], [3, 4]]), ([3, 4], [[5], [6]]), ([5], [[7, 8]])]


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 5])
def test_rows_that_were_done_before_are_left_out(tmp_path: Path, after: int) -> None:
    """What was done before is left out, the rejects of it too."""
    path = written(tmp_path / "x.csv", "x", "one", "2", "three", "4", "five")
    found = batches(path, NUMBER, skip_bad_rows=True, after=after)

    assert [row for batch in found for row in batch.rows] == [row for row in (2, 4) if row > after]
    assert [reject.row for batch in found for reject in batch.rejects] == [row for row in (1, 3, 5) if row > after]


def test_columns_are_matched_by_name(tmp_path: Path) -> None:
    """In any order; numbered columns make a row; those no input uses the columns are noted."""
    path = written(tmp_path / "x.csv", "id,x_1,x_0,name", "1,10,20,a")
    wanted = signature(x=("float32", (None, 2)), city=("string", (None,)))
    notes: list[str] = []
    (batch,) = shape_rows(open_source(str(path), wanted), wanted, renamed={"city": "name"}, note=notes.append)

    assert {name: array.tolist() for name, array in batch.arrays.items()} == {"x": [[20, 10]], "city": [b"a"]}
    assert notes == ["x.csv: no input uses the columns id"]


@pytest.mark.parametrize(
    ("renamed", "message", "hint"),
    [
        ({}, r"no column 'area' \(its columns: aera, city\); serving_default takes", "--column area=aera"),
        ({"area": "ara"}, "no column 'ara'", "--column area=aera"),
        ({"are": "aera"}, "there is no input 'are'", ""),
    ],
)
def test_a_column_that_is_missing_is_named(tmp_path: Path, renamed: dict[str, str], message: str, hint: str) -> None:
    """The hint suggests the most similar column."""
    path = written(tmp_path / "x.csv", "aera,city", "1,Bern")
    wanted = signature(area=("float32", (None,)), city=("string", (None,)))

    with pytest.raises(InvalidInput, match=message) as raised:
        batches(path, wanted, renamed=renamed)
    assert raised.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        ("AREA,City", "--column area=AREA --column city=City names the ones to take"),
        ("Sea area,city", "--column area='Sea area' names the one to take"),
        ("size,town", "--column area=COLUMN --column city=COLUMN names the ones to take"),
        ("120,Bern", "if the first line is a row, add --no-header --column area=1 --column city=2"),
        ("1,Bern", "if the first line is a row, add --no-header --column area=1 --column city=2"),
        ("1,2", "--column area=1 --column city=2 names the columns"),
        ("120,Bern,x", "add --no-header if the first line is a row; --column area=COLUMN --column city=COLUMN names"),
    ],
)
def test_the_hint_names_all_columns(tmp_path: Path, header: str, hint: str) -> None:
    """Following it does not lead to the same error about the next input."""
    wanted = signature(area=("float32", (None,)), city=("string", (None,)))
    with pytest.raises(InvalidInput, match="no column 'area'") as raised:
        batches(written(tmp_path / "x.csv", header, "1,Bern"), wanted)
    assert raised.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("array", "dtype", "wanted"),
    [
        (np.array([1.0, 2.0]), "int32", [1, 2]),
        (np.array([1, 2], np.int64), "float32", [1.0, 2.0]),
        (np.array(["a", "ü"]), "string", [b"a", "ü".encode()]),
        (np.array([True, False]), "bool", [True, False]),
        (np.array([[1], [2]], np.uint8), "int64", [1, 2]),
    ],
)
def test_arrays_change_their_dtype_where_no_value_changes(
    tmp_path: Path, array: np.ndarray, dtype: str, wanted: list[Any]
) -> None:
    """Whole numbers are whole numbers in any dtype; a row of one is a value."""
    np.save(tmp_path / "x.npy", array)
    shape: Shape = (None,) if array.ndim == 1 else (None, 1)
    (batch,) = batches(tmp_path / "x.npy", signature(x=(dtype, shape)))

    assert batch.arrays["x"].ravel().tolist() == wanted


@pytest.mark.parametrize(
    ("array", "dtype", "message"),
    [
        (np.array([1.0, 1.5]), "int32", "row 2: x is 1.5"),
        (np.array([1, 300]), "uint8", "row 2: x is 300, but uint8 goes from 0 to 255"),
        (np.array(["a"]), "float32", "row 1: x is text"),
    ],
)
def test_arrays_whose_values_would_change(tmp_path: Path, array: np.ndarray, dtype: str, message: str) -> None:
    """The row is named here too."""
    np.save(tmp_path / "x.npy", array)

    with pytest.raises(InvalidInput, match=message):
        batches(tmp_path / "x.npy", signature(x=(dtype, (None,))))
