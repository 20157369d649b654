"""How a CSV file is written: its delimiter and decimal marks, from the user's options or from its first rows.

Spreadsheets in countries with a decimal comma separate cells with semicolons. A guess never changes a number: where a
comma may be a decimal mark or a thousands separator, reading the cell fails (`cells.py`).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tfsctl.data.blocks import CellFormat
from tfsctl.errors import InvalidInput

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_NAMED_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_FIRST_LINE = re.compile(r'"?sep=(?P<delimiter>.)"?', re.IGNORECASE)
_COMMA_NUMBER = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+)?,\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")
_POINT_NUMBER = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:,\d{3})+)?\.\d+(?:[eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class TextFormat:
    """The user's options for a text file; None if the option is detected from the file.

    - `delimiter`, `decimal`, `has_header`, `missing`: for CSV and TSV. `missing` are cells without a value.
    - `encoding`: for every format of text (default: UTF-8)
    """

    delimiter: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    has_header: bool = True
    missing: frozenset[str] = frozenset()

    @property
    def csv_options(self) -> list[str]:
        """The options that the user typed and that only CSV and TSV have."""
        options = {
            "--delimiter": self.delimiter is not None,
            "--decimal": self.decimal is not None,
            "--no-header": not self.has_header,
            "--na": bool(self.missing),
        }
        return [name for name, is_typed in options.items() if is_typed]


DEFAULT_FORMAT = TextFormat()


def parse_delimiter(text: str) -> str:
    """The delimiter that an option names. Raises InvalidInput if it is not one character that can separate cells."""
    delimiter = _NAMED_DELIMITERS.get(text.lower(), text)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise InvalidInput(
            f"--delimiter {text!r} is not one character", hint="use one character, e.g. --delimiter ';' or tab"
        )
    return delimiter


def parse_encoding(text: str) -> str:
    """A text encoding that Python knows. Raises InvalidInput."""
    try:
        "a".encode(text)
    except (LookupError, ValueError):
        raise InvalidInput(
            f"--encoding {text!r} is not a known text encoding",
            hint="use an encoding such as utf-16, cp1252 or latin-1",
        ) from None
    return text


def named_delimiter(line: str) -> str | None:
    """The delimiter of a first line `sep=;`, which tells Excel how to read the file; None for any other line."""
    match = _FIRST_LINE.fullmatch(line.rstrip("\r\n"))
    return match and match["delimiter"]


def detect_delimiter(lines: Sequence[str]) -> str:
    """The delimiter that splits the first line into most cells, and the other lines into as many (default: a comma)."""

    def rank(delimiter: str) -> tuple[bool, int]:
        try:
            counts = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
        except csv.Error:
            return False, 0
        cells = counts[0] if counts else 0
        complete = counts[:-1] if len(counts) > 2 else counts  # the last row may continue on another line
        return cells > 1 and all(count == cells for count in complete), cells

    return max(DELIMITERS, key=rank)


def cell_format(cells: Sequence[object], delimiter: str, options: TextFormat) -> CellFormat:
    """The format of a column, from its first cells.

    A decimal comma is only assumed if commas do not separate cells, and some cell cannot be read in another way.
    """
    decimal = options.decimal
    if decimal is None:
        texts = [] if delimiter == "," else [cell.strip() for cell in cells if isinstance(cell, str)]
        has_comma = any(_COMMA_NUMBER.fullmatch(text) and not _THOUSANDS.fullmatch(text) for text in texts)
        has_point = any(_POINT_NUMBER.fullmatch(text) for text in texts)
        decimal = "," if has_comma and not has_point else "."
    return CellFormat(decimal, options.missing)
