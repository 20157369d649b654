"""Rows of CSV files are those that Python's csv module reads, whether or not quotes come into it."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsctl.data.blocks import UnreadableValue
from tfsctl.data.readers.csv_rows import CsvRows
from tfsctl.errors import InvalidInput

PLAIN = st.text(st.characters(codec="utf-8", exclude_characters='\r\n",\x00'), max_size=8)
ANY = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=8)  # some csv.writers leave \r bare
ENDS = st.sampled_from(["\n", "\r\n"])


def table(columns: int, cell: st.SearchStrategy[str]) -> st.SearchStrategy[list[list[str]]]:
    """Rows of cells."""
    return st.lists(st.lists(cell, min_size=columns, max_size=columns), max_size=300)


def read(content: str) -> list[list[object]]:
    """All rows below the header."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.csv")
        path.write_bytes(content.encode())
        blocks = [(b, [b.column(name) for name in b.names]) for b in CsvRows("rows.csv", path).blocks()]
    return [[column[at] for column in columns] for block, columns in blocks for at in range(block.count)]


@given(rows=st.one_of(table(1, PLAIN), table(3, PLAIN), table(1, ANY), table(3, ANY)), end=ENDS)
def test_text_of_any_kind_survives_a_csv_file(rows: list[list[str]], end: str) -> None:
    """Text of any kind comes back as it was, over several blocks and with quotes in some of them."""
    text = io.StringIO(newline="")
    width = len(rows[0]) if rows else 1
    csv.writer(text, lineterminator=end).writerows([[f"c{at}" for at in range(width)], *rows])
    assert read(text.getvalue()) == rows


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_empty_lines_are_skipped(end: str) -> None:
    """Also many of them, at the end, and before the file goes on."""
    content = end.join(["a", "1", "", '"2"', *[""] * 500, "3", "", ""])
    assert read(content) == [["1"], ["2"], ["3"]]


def test_a_broken_row_is_named_by_its_line_and_the_rest_is_read() -> None:
    """A quote where none may be spoils its own row, and no other."""
    lines = ["a,b", *["1,2"] * 200, '"two\nlines",2', '"x"y,2', "3,4", *["5,6"] * 200, '"q"z,2', "7,8"]
    rows = read("\n".join(lines))
    broken = [row[0].reason for row in rows if isinstance(row[0], UnreadableValue)]
    assert [why.split(":")[0] for why in broken] == ["line 204", "line 406"]
    assert [row for row in rows if row[0] not in ("1", "5") and not isinstance(row[0], UnreadableValue)] == [
        ["two\nlines", "2"],
        ["3", "4"],
        ["7", "8"],
    ]
    assert len(rows) == 405


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_a_file_without_a_first_line_is_refused(content: str) -> None:
    """A file without a first line says so."""
    with pytest.raises(InvalidInput, match="is empty: the first line must name the columns"):
        read(content)
