"""JSON in files: a line a row (.jsonl), whole documents (.json), and plain lines of text."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from tfsctl.core.types import Json, Signature
from tfsctl.data.blocks import BLOCK_BYTES, MOST_ROWS, Block, Pace, Unreadable, opened, without_mark
from tfsctl.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class JsonLines:
    """A JSON value a line: an object of values by input, or the value of the only input. Empty lines are passed over."""

    name: str
    path: Path | str

    def blocks(self) -> Iterator[Block]:
        """All rows; a line that is not JSON is unreadable."""
        with opened(self.path) as (file, progress):
            for lines in _line_blocks(file, self.name):
                yield _json_block([_parsed(line) for line in lines], progress.part())


@dataclass(frozen=True, slots=True)
class TextLines:
    """A row a line, for the only input.

    With a `sniff` at the first line, one that begins with `{` or `[` makes them JSON: lines of it, or one document.
    """

    name: str
    path: Path | str
    sniff: Signature | None = None

    def blocks(self) -> Iterator[Block]:
        """All rows, as text."""
        with opened(self.path) as (file, progress):
            blocks = _line_blocks(file, self.name, keep_empty=True)
            first = next(blocks, [])
            is_json = self.sniff is not None and bool(first) and first[0].lstrip()[:1] in (b"{", b"[")
            if is_json and self.sniff is not None and _begins_document(first[0]):
                whole = b"\n".join(chain(first, *blocks))
                yield from _document_blocks(_parsed(whole), self.name, self.sniff)
                return
            for lines in chain([first], blocks):
                if is_json:
                    yield _json_block([_parsed(line) for line in lines if line.strip()], progress.part())
                else:
                    texts = [line.rstrip(b"\r\n").decode("utf-8", "surrogateescape") for line in lines]
                    yield Block(len(texts), ("",), partial(_same, texts), is_text=True, part=progress.part())


@dataclass(frozen=True, slots=True)
class JsonDocument:
    """One document, read whole: a body as TensorFlow Serving's REST API has it, a list of rows, or an object of columns."""

    name: str
    path: Path | str
    signature: Signature

    def blocks(self) -> Iterator[Block]:
        """All rows. Raises InvalidInput for what is none of these, or is for another signature."""
        with opened(self.path) as (file, _progress):
            document = _parsed(without_mark(file.read(), self.name))
        yield from _document_blocks(document, self.name, self.signature)


def _document_blocks(document: Json, name: str, signature: Signature) -> Iterator[Block]:
    if isinstance(document, Unreadable):
        raise InvalidInput(f"{name} is {document.why}", hint="--format jsonl reads a JSON value from each line")
    if isinstance(document, dict) and not document.keys().isdisjoint(("instances", "inputs")):
        said = document.get("signature_name", signature.name)
        if said != signature.name:
            raise InvalidInput(
                f"{name} is for the signature {said!r}, not {signature.name}", hint=f"--signature {said}"
            )
        inputs = document.get("inputs")
        document = document.get("instances", {"": inputs} if isinstance(inputs, list) else inputs)
    if isinstance(document, list):
        for start in range(0, len(document), MOST_ROWS):
            rows = document[start : start + MOST_ROWS]
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
    for start in range(0, total, MOST_ROWS):
        end = min(start + MOST_ROWS, total)
        yield Block(end - start, tuple(columns), partial(_part, columns, start, end), part=end / total)


def _begins_document(line: bytes) -> bool:
    """Whether the first line is (the beginning of) a whole document, and not a row."""
    if line.rstrip().endswith((b",", b"[", b"{", b":")):
        return True
    value = _parsed(line)
    if isinstance(value, list):
        return bool(value) and all(map(_is_named, value))
    return isinstance(value, dict) and not value.keys().isdisjoint(("instances", "signature_name"))


def _line_blocks(file: BinaryIO, name: str, *, keep_empty: bool = False) -> Iterator[list[bytes]]:
    blocks = _as_they_come(file) if file is sys.stdin.buffer else _paced(file)
    is_first = True
    for lines in blocks:
        if is_first:
            lines[0] = without_mark(lines[0], name)
            is_first = False
        yield lines if keep_empty else [line for line in lines if line.strip()]


def _paced(file: BinaryIO) -> Iterator[list[bytes]]:
    pace = Pace()
    while lines := list(islice(file, pace.rows)):
        pace.learn(len(lines), sum(map(len, lines)))
        yield lines


def _as_they_come(file: BinaryIO) -> Iterator[list[bytes]]:
    """The lines there are: whoever writes them may wait for their answers."""
    rest: list[bytes] = []  # of a line whose end has not come
    while content := file.read1(BLOCK_BYTES // 8):  # type: ignore[attr-defined] # every buffered stream has it
        first, *lines = content.split(b"\n")
        rest.append(first)
        if lines:
            yield [b"".join(rest), *lines[:-1]]
            rest = [lines[-1]]
    if any(rest):
        yield [b"".join(rest)]


def _parsed(text: bytes) -> Json:
    """The value of a JSON text; NaN and Infinity may stand bare."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text.decode("utf-8", "surrogateescape"))
    except ValueError as error:
        return Unreadable(f"not JSON: {error}")
    except RecursionError:
        return Unreadable("JSON that is nested too deeply")


def _json_block(rows: list[Any], part: float | None) -> Block:
    """A block of objects, or of bare values; either may have unreadable ones among them."""
    names = dict.fromkeys(chain.from_iterable(filter(_is_named, rows)))
    if not names and not all(isinstance(row, Unreadable) for row in rows):
        names = {"": None}
    return Block(len(rows), tuple(names), partial(_values, rows), part=part)


def _values(rows: Sequence[Any], name: str) -> list[Any]:
    try:
        return [row[name] for row in rows] if name else [row if not _is_named(row) else Unreadable() for row in rows]
    except (KeyError, TypeError, IndexError):
        return [_value(row, name) for row in rows]


def _value(row: Json, name: str) -> Json:
    if isinstance(row, Unreadable):
        return row
    return (
        row.get(name, Unreadable()) if isinstance(row, dict) else Unreadable("the row is not an object, as others are")
    )


def _is_named(row: Json) -> bool:
    return isinstance(row, dict) and row.keys() != {"b64"}


def _same(texts: list[str], _name: str) -> list[str]:
    return texts


def _part(columns: Mapping[str, list[Any]], start: int, end: int, name: str) -> list[Any]:
    return columns[name][start:end]
