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

from tfsctl.data.blocks import BLOCK_BYTES, MOST_ROWS, Block, Pace, Unreadable, opened
from tfsctl.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class JsonLines:
    """A JSON value a line: an object of values by input, or the value of the only input. Empty lines are passed over."""

    name: str
    path: Path | str

    def blocks(self) -> Iterator[Block]:
        """All rows; a line that is not JSON is unreadable."""
        with opened(self.path) as (file, progress):
            for lines in _line_blocks(file):
                yield _json_block([_parsed(line) for line in lines], progress.part())


@dataclass(frozen=True, slots=True)
class TextLines:
    """A row a line, for the only input; lines that begin with `{` or `[` are read as JSON where they come first."""

    name: str
    path: Path | str
    sniff: bool = False

    def blocks(self) -> Iterator[Block]:
        """All rows, as text."""
        with opened(self.path) as (file, progress):
            blocks = _line_blocks(file, keep_empty=True)
            first = next(blocks, [])
            is_json = self.sniff and bool(first) and first[0].lstrip()[:1] in (b"{", b"[")
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

    def blocks(self) -> Iterator[Block]:
        """All rows. Raises InvalidInput for what is none of these."""
        with opened(self.path) as (file, _progress):
            document = _parsed(file.read())
        if isinstance(document, Unreadable):
            raise InvalidInput(f"{self.name} is {document.why}")
        if isinstance(document, dict) and "instances" in document:
            document = document["instances"]
        elif isinstance(document, dict) and "inputs" in document:
            document = document["inputs"]
            if isinstance(document, list):
                document = {"": document}
        if isinstance(document, list):
            for start in range(0, len(document), MOST_ROWS):
                rows = document[start : start + MOST_ROWS]
                yield _json_block(rows, (start + len(rows)) / len(document))
        elif isinstance(document, dict) and document and all(isinstance(one, list) for one in document.values()):
            yield from self._columns(document)
        else:
            raise InvalidInput(
                f"{self.name} holds no rows",
                hint='{"instances": [...]}, a list of rows, or {"NAME": [...]} for whole columns',
            )

    def _columns(self, columns: Mapping[str, list[Any]]) -> Iterator[Block]:
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise InvalidInput(
                f"the columns of {self.name} have different numbers of rows: "
                + ", ".join(f"{name} {length}" for name, length in lengths.items())
            )
        total = next(iter(lengths.values()))
        for start in range(0, total, MOST_ROWS):
            end = min(start + MOST_ROWS, total)
            yield Block(end - start, tuple(columns), partial(_part, columns, start, end), part=end / total)


def _line_blocks(file: BinaryIO, *, keep_empty: bool = False) -> Iterator[list[bytes]]:
    blocks = _as_they_come(file) if file is sys.stdin.buffer else _paced(file)
    for lines in blocks:
        yield lines if keep_empty else [line for line in lines if line.strip()]


def _paced(file: BinaryIO) -> Iterator[list[bytes]]:
    pace = Pace()
    while lines := list(islice(file, pace.rows)):
        pace.learn(len(lines), sum(map(len, lines)))
        yield lines


def _as_they_come(file: BinaryIO) -> Iterator[list[bytes]]:
    """The lines there are: whoever writes them may wait for their answers."""
    rest = b""
    while content := file.read1(BLOCK_BYTES // 8):  # type: ignore[attr-defined] # every buffered stream has it
        *lines, rest = (rest + content).splitlines(keepends=True) if b"\n" in content else [rest + content]
        if rest.endswith(b"\n"):
            lines, rest = [*lines, rest], b""
        if lines:
            yield lines
    if rest:
        yield [rest]


def _parsed(text: bytes) -> Any:  # noqa: ANN401 - any JSON value
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
    names = dict.fromkeys(chain.from_iterable(filter(_is_named, rows))) or {"": None}
    return Block(len(rows), tuple(names), partial(_values, rows), part=part)


def _values(rows: Sequence[Any], name: str) -> list[Any]:
    try:
        return [row[name] for row in rows] if name else [row if not _is_named(row) else Unreadable() for row in rows]
    except (KeyError, TypeError, IndexError):
        return [_value(row, name) for row in rows]


def _value(row: Any, name: str) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(row, Unreadable):
        return row
    return (
        row.get(name, Unreadable()) if isinstance(row, dict) else Unreadable("the row is not an object, as others are")
    )


def _is_named(row: Any) -> bool:  # noqa: ANN401 - any JSON value
    return isinstance(row, dict) and row.keys() != {"b64"}


def _same(texts: list[str], _name: str) -> list[str]:
    return texts


def _part(columns: Mapping[str, list[Any]], start: int, end: int, name: str) -> list[Any]:
    return columns[name][start:end]
