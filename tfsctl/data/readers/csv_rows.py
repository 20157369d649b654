"""Reads rows from CSV and TSV files (RFC 4180 quoting), also as Excel writes them."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tfsctl.data.blocks import STDIN, Block, BlockSizer, CellFormat, UnreadableValue, open_text
from tfsctl.data.csv_format import (
    DEFAULT_FORMAT,
    DELIMITERS,
    TextFormat,
    cell_format,
    detect_delimiter,
    named_delimiter,
)
from tfsctl.errors import InvalidInput
from tfsctl.inputs.encodings import ENCODING_HINT, utf_16_without_mark

_DETECTION_LINES = 20  # for the delimiter
_DETECTION_ROWS = 1000  # for the decimal mark, if commas do not separate cells


@dataclass(frozen=True, slots=True)
class CsvRows:
    """The rows below the header. Cells that are not UTF-8 are kept, and refused if they are an input.

    `delimiter` is None if the first lines show it. Columns without a name are called by their number, from 1. Empty cells
    at the end of a line are ignored if the header has no name for them.
    """

    name: str
    path: Path | str
    delimiter: str | None = ","
    format: TextFormat = DEFAULT_FORMAT
    note: Callable[[str], None] = lambda _text: None

    def blocks(self) -> Iterator[Block]:
        """All rows, as text. A row with fewer or more cells than the header is unreadable.

        Raises InvalidInput for an empty file, an unreadable header or a column name used twice.
        """
        csv.field_size_limit(sys.maxsize)
        with open_text(self.path, self.format.encoding) as (raw, position):
            text = io.TextIOWrapper(raw, "utf-8-sig", "surrogateescape", newline="")
            reader = _LineReader(text, ",")
            reader.delimiter = delimiter = self._delimiter(reader)
            header = self._header(reader)
            sizer = BlockSizer()
            if delimiter != "," and self.path != STDIN:
                sizer.rows = _DETECTION_ROWS
            formats: dict[str, CellFormat] | None = None
            while rows := reader.take(sizer.rows):
                some = rows[:: 1 + len(rows) // 64]
                size = sum(len(cell) for row in some for cell in row if isinstance(cell, str))
                sizer.record(len(some), max(size, 1))
                if set(map(len, rows)) != {len(header)}:
                    _fit_lengths(rows, len(header), delimiter)
                column = partial(_column, rows, header)
                if formats is None:
                    formats = {name: cell_format(column(name), delimiter, self.format) for name in header}
                yield Block(
                    len(rows),
                    header,
                    column,
                    is_text=True,
                    fraction_read=position.fraction(),
                    cell_formats=formats,
                )
            if formats is None:
                yield Block(0, header, lambda _name: [], is_text=True)
            text.detach()

    def _delimiter(self, reader: _LineReader) -> str:
        """The delimiter; skips a first line `sep=;`."""
        lines = reader.peek(_DETECTION_LINES)
        named = named_delimiter(lines[0]) if lines else None
        if named is not None:
            reader.skip_line()
        if self.format.delimiter or named or self.delimiter:
            return self.format.delimiter or named or self.delimiter or ","
        delimiter = detect_delimiter(lines)
        if delimiter != ",":
            self.note(f"{self.name}: cells are separated by {DELIMITERS[delimiter]}")
        return delimiter

    def _header(self, reader: _LineReader) -> tuple[str, ...]:
        """The names of the columns. Without a header, their numbers."""
        (first,) = reader.take(1) or [[]]
        if first and isinstance(first[0], UnreadableValue):
            raise InvalidInput(f"{self.name}: the header cannot be read: {first[0].reason}")
        if not self.format.has_header:
            reader.put_back(first)
            return tuple(str(number) for number in range(1, len(first) + 1))
        names = [name.strip() for name in first]
        while len(names) > 1 and not names[-1]:
            del names[-1]
        header = tuple(name or str(number) for number, name in enumerate(names, start=1))
        _check_header("".join(header), self.name)
        if not header:
            raise InvalidInput(f"{self.name} is empty: the first line must name the columns")
        if header == ("1",):  # the name of the only column of a file without a header
            raise InvalidInput(
                f"the first line of {self.name} has a number, not a name: 1",
                hint="add --no-header if the first line is a row",
            )
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            raise InvalidInput(
                f"{self.name} has two columns called {twice!r}",
                hint="rename one of them, or add --no-header if the first line is a row",
            )
        return header


def _check_header(names: str, source: str) -> None:
    """Raise InvalidInput for names that are not UTF-8 text."""
    if "\0" in names:
        encoding = utf_16_without_mark(names.encode("utf-8", "surrogateescape")) or "utf-16-le"
        raise InvalidInput(f"the header of {source} is not UTF-8 text", hint=f"--encoding {encoding} reads UTF-16 text")
    try:
        names.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"the header of {source} is not UTF-8 text", hint=ENCODING_HINT) from None


class _LineReader:
    """Splits lines into cells: with str.split if there are no quotes, which is fast, otherwise with the csv module."""

    def __init__(self, text: Iterator[str], delimiter: str) -> None:
        self._text, self.delimiter = text, delimiter
        self._left: list[str] = []  # lines read but not yet split
        self._rows: list[list[Any]] = []  # split, and put back
        self._line_count = 0  # lines that were split

    def peek(self, count: int) -> list[str]:
        """Up to `count` of the next lines, which stay unread."""
        self._left += islice(self._text, count - len(self._left))
        return self._left[:count]

    def skip_line(self) -> None:
        """Skip a line that was peeked at."""
        del self._left[0]
        self._line_count += 1

    def put_back(self, row: list[Any]) -> None:
        """Return a row, which is then the next one."""
        self._rows += [row] if row else []

    def take(self, count: int) -> list[list[Any]]:
        """Up to `count` of the next rows; none at the end. Empty lines are skipped. A quoting error is one unreadable row."""
        put_back, self._rows = self._rows, []
        rows: list[list[Any]] = []
        while not rows:
            lines, self._left = self._left[:count], self._left[count:]
            lines += islice(self._text, count - len(lines))
            if not lines:
                break
            joined = "".join(lines)
            rows = self._quoted(lines) if '"' in joined else self._plain(lines, joined)
        return put_back + rows if put_back else rows

    def _plain(self, lines: list[str], joined: str) -> list[list[Any]]:
        self._line_count += len(lines)
        lines = [line.rstrip("\r\n") for line in lines] if "\r" in joined else joined.split("\n")
        return [line.split(self.delimiter) for line in lines if line]

    def _quoted(self, lines: list[str]) -> list[list[Any]]:
        ahead = iter(lines + self._left)
        reader = csv.reader(chain(ahead, self._text), delimiter=self.delimiter, strict=True)
        rows: list[list[Any]] = []
        try:
            rows.extend(row for row in islice(reader, len(lines)) if row)
        except csv.Error as error:
            reason = "a quotation mark is not closed" if "end of data" in str(error) else str(error)
            rows.append([UnreadableValue(f"line {self._line_count + reader.line_num}: {reason}")])
        self._line_count += reader.line_num
        self._left = list(ahead)
        return rows


def _fit_lengths(rows: list[list[Any]], wanted: int, delimiter: str) -> None:
    """Cut empty cells behind the last column; replace other rows of a wrong length with unreadable ones."""
    for at, row in enumerate(rows):
        if len(row) == 1 and isinstance(row[0], UnreadableValue):
            rows[at] = row * wanted
        elif len(row) > wanted and not any(row[wanted:]):
            rows[at] = row[:wanted]
        elif len(row) != wanted:
            hint = "--delimiter names the character that separates cells"
            if delimiter == "," and len(row) > wanted:
                hint = f"cells with commas must be quoted; {hint}"
            reason = f"it has {len(row)} cell{'' if len(row) == 1 else 's'} where the header has {wanted}"
            rows[at] = [UnreadableValue(reason, hint)] * wanted


def _column(rows: list[list[Any]], header: tuple[str, ...], name: str) -> list[Any]:
    at = header.index(name)
    return [row[at] for row in rows]
