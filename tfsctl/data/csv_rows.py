"""CSV and TSV files with a header."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tfsctl.data.blocks import Block, Pace, Unreadable, opened
from tfsctl.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class CsvRows:
    """The rows below a header. Bytes that are not UTF-8 are kept as they are."""

    name: str
    path: Path | str
    delimiter: str = ","

    def blocks(self) -> Iterator[Block]:
        """All rows, as text. A row of another length than the header is unreadable; quotes may hold line ends."""
        csv.field_size_limit(sys.maxsize)
        with opened(self.path) as (raw, progress):
            text = io.TextIOWrapper(raw, "utf-8-sig", "surrogateescape", newline="")
            reader = csv.reader(text, delimiter=self.delimiter, strict=True)
            header = self._header(reader)
            pace = Pace()
            while rows := _some(reader, pace.rows):
                some = rows[:: 1 + len(rows) // 64]
                size = sum(len(cell) for row in some for cell in row if isinstance(cell, str))
                pace.learn(len(some), max(size, 1))
                if set(map(len, rows)) != {len(header)}:
                    rows = [row for row in rows if row]  # empty lines
                    _note_lengths(rows, len(header))
                yield Block(len(rows), header, partial(_column, rows, header), is_text=True, part=progress.part())
            text.detach()

    def _header(self, reader: Iterator[list[str]]) -> tuple[str, ...]:
        try:
            header = tuple(name.strip() for name in next(reader, []))
        except csv.Error as error:
            raise InvalidInput(f"{self.name}: the header cannot be read: {error}") from error
        if not header:
            raise InvalidInput(f"{self.name} is empty: the first line must name the columns")
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            raise InvalidInput(f"{self.name} has two columns called {twice!r}")
        return header


def _some(reader: Any, count: int) -> list[list[Any]]:  # noqa: ANN401 - csv's own type
    """The next rows; one that breaks the rules of quoting is a row of its own."""
    rows: list[list[Any]] = []
    try:
        rows.extend(islice(reader, count))
    except csv.Error as error:
        rows.append([Unreadable(f"line {reader.line_num}: {error}")])
    return rows


def _note_lengths(rows: list[list[Any]], wanted: int) -> None:
    """Make rows of a wrong length into rows of the right one that say so."""
    for at, row in enumerate(rows):
        if len(row) == 1 and isinstance(row[0], Unreadable):
            rows[at] = row * wanted
        elif len(row) != wanted:
            rows[at] = [Unreadable(f"it has {len(row)} cells where the header has {wanted}")] * wanted


def _column(rows: list[list[Any]], header: tuple[str, ...], name: str) -> list[Any]:
    at = header.index(name)
    return [row[at] for row in rows]
