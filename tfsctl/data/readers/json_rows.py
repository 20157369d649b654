"""Reads rows from JSON lines (.jsonl), JSON documents (.json) and plain text lines."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from tfsctl.core.json_strings import is_b64
from tfsctl.core.types import Json, Signature
from tfsctl.data.blocks import (
    BLOCK_BYTES,
    MAX_BLOCK_ROWS,
    Block,
    BlockSizer,
    UnreadableValue,
    decode_line,
    decode_lines,
    open_text,
    single_column,
    strip_byte_order_mark,
)
from tfsctl.errors import InvalidInput
from tfsctl.inputs.literals import RepeatedName, load_json
from tfsctl.inputs.typed_values import parse_line, takes_text

_AFTER_NAME = re.compile(rb'"\s*:')


@dataclass(frozen=True, slots=True)
class JsonLines:
    """One JSON value per line: an object of values by input, or the value of the only input. Empty lines are skipped."""

    name: str
    path: Path | str
    encoding: str | None = None

    def blocks(self) -> Iterator[Block]:
        """All rows. A line that is not JSON is an unreadable row."""
        with open_text(self.path, self.encoding) as (file, position):
            for lines in _line_blocks(file):
                yield _json_block([_parse(line) for line in lines], position.fraction())


@dataclass(frozen=True, slots=True)
class TextLines:
    """One row per line, empty lines included.

    If the signature takes one text per row, a line is the text, as it is. Otherwise it is a number, JSON or NAME=VALUE
    pairs; any other line is an unreadable row.
    """

    name: str
    path: Path | str
    signature: Signature
    encoding: str | None = None

    def blocks(self) -> Iterator[Block]:
        """All rows."""
        is_plain = takes_text(self.signature)
        with open_text(self.path, self.encoding) as (file, position):
            for lines in _line_blocks(file, keep_empty=True):
                texts = decode_lines(lines)
                if is_plain or _are_numbers(lines, self.signature):
                    yield Block(
                        len(texts), ("",), single_column(texts), is_text=True, fraction_read=position.fraction()
                    )
                else:
                    yield _json_block([_parse_text_line(text, self.signature) for text in texts], position.fraction())


@dataclass(frozen=True, slots=True)
class JsonDocument:
    """One JSON document, read whole: a TensorFlow Serving REST body, a list of rows, or an object of columns."""

    name: str
    path: Path | str
    signature: Signature
    encoding: str | None = None

    def blocks(self) -> Iterator[Block]:
        """All rows. Raises InvalidInput for any other document, or a body for another signature."""
        with open_text(self.path, self.encoding) as (file, _position):
            document = _parse(strip_byte_order_mark(file.read()))
        yield from _document_blocks(document, self.name, self.signature)


def _document_blocks(document: Json, name: str, signature: Signature) -> Iterator[Block]:
    if isinstance(document, UnreadableValue):
        is_lines = "Extra data" in document.reason  # after the first value
        hint = document.hint or ("--format jsonl reads a JSON value from each line" if is_lines else "")
        raise InvalidInput(f"{name} is {document.reason}", hint=hint)
    if isinstance(document, dict) and document.keys() >= {"instances", "inputs"}:
        raise InvalidInput(f'{name} has both "instances" and "inputs"', hint="remove one of them")
    if isinstance(document, dict) and not document.keys().isdisjoint(("instances", "inputs")):
        requested = document.get("signature_name", signature.name)
        if requested != signature.name:
            raise InvalidInput(
                f"{name} is for the signature {requested!r}, not {signature.name}", hint=f"--signature {requested}"
            )
        inputs = document.get("inputs")
        document = document.get("instances", {"": inputs} if isinstance(inputs, list) else inputs)
    if isinstance(document, list):
        for start in range(0, len(document), MAX_BLOCK_ROWS):
            rows = document[start : start + MAX_BLOCK_ROWS]
            yield _json_block(rows, (start + len(rows)) / len(document))
    elif isinstance(document, dict) and document and all(isinstance(one, list) for one in document.values()):
        yield from _column_blocks(document, name)
    else:
        raise InvalidInput(
            f"{name} holds no rows",
            hint='{"instances": [...]}, a list of rows, or {"NAME": [...]} for whole columns',
        )


def _column_blocks(columns: Mapping[str, list[Any]], name: str) -> Iterator[Block]:
    lengths = {column: len(values) for column, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidInput(
            f"the columns of {name} have different numbers of rows: "
            + ", ".join(f"{column} {length}" for column, length in lengths.items())
        )
    total = next(iter(lengths.values()))
    for start in range(0, total, MAX_BLOCK_ROWS):
        end = min(start + MAX_BLOCK_ROWS, total)
        yield Block(end - start, tuple(columns), partial(_column_slice, columns, start, end), fraction_read=end / total)


def _are_numbers(lines: Sequence[bytes], signature: Signature) -> bool:
    """Whether no line holds pairs, objects or JSON strings, so that the lines can be parsed as cells, which is faster."""
    return len(signature.inputs) == 1 and not any(map(b"".join(lines).__contains__, (b"=", b"{", b'"')))


def _parse_text_line(text: str | UnreadableValue, signature: Signature) -> Json:
    """The values of a line by input, or the value of the only input; UnreadableValue if it is not one row."""
    if isinstance(text, UnreadableValue):
        return text
    try:
        values = parse_line(text, signature).values
    except InvalidInput as error:
        cells = {cell.strip(' "') for cell in re.split(r"[,;\t|]", text)}
        is_header = all(spec.name in cells for spec in signature.inputs)
        return UnreadableValue(error.message, "--format csv reads rows of cells" if is_header else error.hint)
    return values if len(signature.inputs) > 1 else values[signature.inputs[0].name]


def _line_blocks(file: BinaryIO, *, keep_empty: bool = False) -> Iterator[list[bytes]]:
    blocks = _lines_available(file) if file is sys.stdin.buffer else _lines_by_size(file)
    is_first = True
    for lines in blocks:
        if is_first:
            lines[0] = strip_byte_order_mark(lines[0])
            is_first = False
        yield lines if keep_empty else [line for line in lines if line.strip()]


def _lines_by_size(file: BinaryIO) -> Iterator[list[bytes]]:
    sizer = BlockSizer()
    while lines := list(islice(file, sizer.rows)):
        sizer.record(len(lines), sum(map(len, lines)))
        yield lines


def _lines_available(file: BinaryIO) -> Iterator[list[bytes]]:
    """The lines of stdin as they arrive: the writer may wait for the answers before it writes more."""
    rest: list[bytes] = []  # the start of a line whose end has not arrived
    while content := file.read1(BLOCK_BYTES // 8):  # type: ignore[attr-defined] # every buffered stream has read1
        first, *lines = content.split(b"\n")
        rest.append(first)
        if lines:
            yield [b"".join(rest), *lines[:-1]]
            rest = [lines[-1]]
    if any(rest):
        yield [b"".join(rest)]


def _parse(text: bytes) -> Json:
    """The value of a JSON text, which may contain NaN and Infinity.

    UnreadableValue if it is not JSON, or if an object has a name twice.
    """
    try:
        value = orjson.loads(text)
        if not _may_repeat_names(text, value):
            return value
    except orjson.JSONDecodeError:
        pass
    except RecursionError:
        return UnreadableValue("JSON that is nested too deeply")
    try:
        return load_json(text, unique_names=True)
    except RepeatedName as error:
        return UnreadableValue(f"JSON that has {error.name!r} twice")
    except UnicodeDecodeError:
        found = decode_line(text)
        return found if isinstance(found, UnreadableValue) else UnreadableValue("not UTF-8 text")
    except InvalidInput as error:
        return UnreadableValue(f"JSON with a number out of range: {error.message}")
    except ValueError as error:
        return UnreadableValue(f"not JSON: {error}" if text.strip() else "empty")
    except RecursionError:
        return UnreadableValue("JSON that is nested too deeply")


def _may_repeat_names(text: bytes, value: Json) -> bool:
    """Whether the text seems to have more names than its value. orjson keeps the last of several values of a name.

    Colons in strings are rarely mistaken for those after names: only after an escaped quotation mark.
    """
    colons = text.count(b":")
    if colons <= (len(value) if isinstance(value, dict) else 0):  # the usual case, which is fast
        return False
    names = _name_count(value)
    return colons > names and len(_AFTER_NAME.findall(text)) > names


def _name_count(value: Json) -> int:
    """The number of names in all objects of a JSON value."""
    if isinstance(value, dict):
        return len(value) + sum(map(_name_count, value.values()))
    return sum(map(_name_count, value)) if isinstance(value, list) else 0


def _json_block(rows: list[Any], part: float | None) -> Block:
    """A block of objects or of bare values; unreadable values may be among them."""
    names = dict.fromkeys(chain.from_iterable(filter(_is_object, rows)))
    if not names and not all(isinstance(row, UnreadableValue) for row in rows):
        names = {"": None}
    return Block(len(rows), tuple(names), partial(_values, rows), fraction_read=part)


def _values(rows: Sequence[Any], name: str) -> list[Any]:
    try:
        return (
            [row[name] for row in rows] if name else [row if not _is_object(row) else UnreadableValue() for row in rows]
        )
    except (KeyError, TypeError, IndexError):
        return [_value(row, name) for row in rows]


def _value(row: Json, name: str) -> Json:
    if isinstance(row, UnreadableValue):
        return row
    return (
        row.get(name, UnreadableValue())
        if isinstance(row, dict)
        else UnreadableValue("the row is not an object, as others are")
    )


def _is_object(row: Json) -> bool:
    return isinstance(row, dict) and not is_b64(row)


def _column_slice(columns: Mapping[str, list[Any]], start: int, end: int, name: str) -> list[Any]:
    return columns[name][start:end]
