"""Reads rows from CSV and TSV files with a header line (RFC 4180 quoting)."""

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

from tfsctl.core.json_strings import encode_text
from tfsctl.data.blocks import Block, BlockSizer, UnreadableValue, open_file, strip_byte_order_mark
from tfsctl.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class CsvRows:
    """The rows below the header. Cells that are not UTF-8 are kept, and refused if they are an input."""

    name: str
    path: Path | str
    delimiter: str = ","

    def blocks(self) -> Iterator[Block]:
        """All rows, as text. A row with fewer or more cells than the header is unreadable.

        Raises InvalidInput for an empty file, an unreadable header or a column name used twice.
        """
        csv.field_size_limit(sys.maxsize)
        with open_file(self.path) as (raw, position):
            text = io.TextIOWrapper(raw, "utf-8-sig", "surrogateescape", newline="")
            reader = _LineReader(text, self.delimiter)
            header = self._header(reader)
            sizer = BlockSizer()
            while rows := reader.take(sizer.rows):
                some = rows[:: 1 + len(rows) // 64]
                size = sum(len(cell) for row in some for cell in row if isinstance(cell, str))
                sizer.record(len(some), max(size, 1))
                if set(map(len, rows)) != {len(header)}:
                    _mark_wrong_lengths(rows, len(header))
                yield Block(
                    len(rows), header, partial(_column, rows, header), is_text=True, fraction_read=position.fraction()
                )
            text.detach()

    def _header(self, reader: _LineReader) -> tuple[str, ...]:
        (first,) = reader.take(1) or [[]]
        if first and isinstance(first[0], UnreadableValue):
            raise InvalidInput(f"{self.name}: the header cannot be read: {first[0].reason}")
        if first:
            strip_byte_order_mark(first[0].encode("utf-8", "surrogateescape"), self.name)
        header = tuple(name.strip() for name in first)
        encode_text("".join(header), f"the header of {self.name}")
        if not header:
            raise InvalidInput(f"{self.name} is empty: the first line must name the columns")
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            raise InvalidInput(f"{self.name} has two columns called {twice!r}")
        return header


class _LineReader:
    """Splits lines into cells: with str.split where no quote occurs, which is fast, else with the csv module."""

    def __init__(self, text: Iterator[str], delimiter: str) -> None:
        self._text, self._delimiter = text, delimiter
        self._left: list[str] = []  # lines read but not yet split, after a quoting error
        self._line_count = 0  # lines before those

    def take(self, count: int) -> list[list[Any]]:
        """Up to `count` of the next rows; none at the end. Empty lines are skipped. A quoting error is one unreadable row."""
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
        self._line_count += len(lines)
        lines = [line.rstrip("\r\n") for line in lines] if "\r" in joined else joined.split("\n")
        return [line.split(self._delimiter) for line in lines if line]

    def _quoted(self, lines: list[str]) -> list[list[Any]]:
        ahead = iter(lines + self._left)
        reader = csv.reader(chain(ahead, self._text), delimiter=self._delimiter, strict=True)
        rows: list[list[Any]] = []
        try:
            rows.extend(row for row in islice(reader, len(lines)) if row)
        except csv.Error as error:
            rows.append([UnreadableValue(f"line {self._line_count + reader.line_num}: {error}")])
        self._line_count += reader.line_num
        self._left = list(ahead)
        return rows


def _mark_wrong_lengths(rows: list[list[Any]], wanted: int) -> None:
    """Replace rows of a wrong length with unreadable rows of the right length."""
    for at, row in enumerate(rows):
        if len(row) == 1 and isinstance(row[0], UnreadableValue):
            rows[at] = row * wanted
        elif len(row) != wanted:
            rows[at] = [UnreadableValue(f"it has {len(row)} cells where the header has {wanted}")] * wanted


def _column(rows: list[list[Any]], header: tuple[str, ...], name: str) -> list[Any]:
    at = header.index(name)
    return [row[at] for row in rows]
