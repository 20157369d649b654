"""CSV and TSV files with a header."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tfsctl.data.blocks import Block, Pace, Unreadable, opened, without_mark
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
            reader = _Reader(text, self.delimiter)
            header = self._header(reader)
            pace = Pace()
            while rows := reader.take(pace.rows):
                some = rows[:: 1 + len(rows) // 64]
                size = sum(len(cell) for row in some for cell in row if isinstance(cell, str))
                pace.learn(len(some), max(size, 1))
                if set(map(len, rows)) != {len(header)}:
                    _note_lengths(rows, len(header))
                yield Block(len(rows), header, partial(_column, rows, header), is_text=True, part=progress.part())
            text.detach()

    def _header(self, reader: _Reader) -> tuple[str, ...]:
        (first,) = reader.take(1) or [[]]
        if first and isinstance(first[0], Unreadable):
            raise InvalidInput(f"{self.name}: the header cannot be read: {first[0].why}")
        if first:
            without_mark(first[0].encode("utf-8", "surrogateescape"), self.name)
        header = tuple(name.strip() for name in first)
        if not header:
            raise InvalidInput(f"{self.name} is empty: the first line must name the columns")
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            raise InvalidInput(f"{self.name} has two columns called {twice!r}")
        return header


class _Reader:
    """The rows of a text: its lines, split where the delimiter is, but read by csv's rules where quotes come into it."""

    def __init__(self, text: Iterator[str], delimiter: str) -> None:
        self._text, self._delimiter = text, delimiter
        self._left: list[str] = []  # lines behind a row that broke the rules
        self._lines = 0  # before those

    def take(self, count: int) -> list[list[Any]]:
        """Some of the next rows, none at the end. Empty lines are none; what breaks the rules of quoting is one."""
        rows: list[list[Any]] = []
        while not rows:
            lines, self._left = self._left[:count], self._left[count:]
            lines += islice(self._text, count - len(lines))
            if not lines:
                break
            joined = "".join(lines)
            rows = self._quoted(lines) if '"' in joined else self._plain(lines, joined)
        return rows

    def _plain(self, lines: list[str], joined: str) -> list[list[Any]]:
        self._lines += len(lines)
        lines = [line.rstrip("\r\n") for line in lines] if "\r" in joined else joined.split("\n")
        return [line.split(self._delimiter) for line in lines if line]

    def _quoted(self, lines: list[str]) -> list[list[Any]]:
        ahead = iter(lines + self._left)
        reader = csv.reader(chain(ahead, self._text), delimiter=self._delimiter, strict=True)
        rows: list[list[Any]] = []
        try:
            rows.extend(row for row in islice(reader, len(lines)) if row)
        except csv.Error as error:
            rows.append([Unreadable(f"line {self._lines + reader.line_num}: {error}")])
        self._lines += reader.line_num
        self._left = list(ahead)
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
