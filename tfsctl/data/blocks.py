"""Blocks of consecutive rows, which every file reader yields, and what the readers share.

A block is about BLOCK_BYTES of the file, so memory stays constant whatever the size of the file.
"""

from __future__ import annotations

import codecs
import gzip
import os
import select
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from tfsctl.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    import numpy as np

    Column = Sequence[object] | np.ndarray

_GZIP = b"\x1f\x8b"
BLOCK_BYTES = 1 << 20
MAX_BLOCK_ROWS = 8192
STDIN = "-"


@dataclass(frozen=True, slots=True)
class UnreadableValue:
    """In place of a value that could not be read. An empty `reason` means that the value is missing."""

    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows of a file, by column.

    - `column(name)`: the values of one of `names`. The column `""` belongs to the only input of a model.
    - Without any `names`, no row could be read: `column("")` holds UnreadableValues.
    - `is_text`: the values are text, to be parsed as the dtype of the input.
    - `label`: the name and values of a column that is copied unchanged to the results.
    - `fraction_read`: how much of the file was read up to here, 0 to 1; None if unknown.
    """

    count: int
    names: tuple[str, ...]
    column: Callable[[str], Column]
    is_text: bool = False
    label: tuple[str, Sequence[str]] | None = None
    fraction_read: float | None = None


def decode_lines(lines: Sequence[bytes]) -> list[str | UnreadableValue]:
    """Lines of text without their line breaks. A line that is not UTF-8 is unreadable."""
    try:
        return [line.rstrip(b"\r\n").decode() for line in lines]
    except UnicodeDecodeError:
        return list(map(decode_line, lines))


def decode_line(line: bytes) -> str | UnreadableValue:
    """One line, as `decode_lines` reads it."""
    try:
        return line.rstrip(b"\r\n").decode()
    except UnicodeDecodeError as error:
        return UnreadableValue(
            f"not UTF-8 text (byte 0x{line[error.start]:02x} at {error.start + 1})",
            "iconv -f LATIN1 -t UTF-8 FILE converts Latin-1 text",
        )


def single_column(values: Column) -> Callable[[str], Column]:
    """The `Block.column` of a block with one column."""
    return lambda _name: values


class RowSource(Protocol):
    """A file of rows, or several files read as one."""

    @property
    def name(self) -> str:
        """The name for messages."""

    def blocks(self) -> Iterator[Block]:
        """All rows, in order. Raises InvalidInput if the file cannot be read."""


class BlockSizer:
    """Estimates how many rows make a block of about BLOCK_BYTES, from the blocks before."""

    def __init__(self) -> None:
        self.rows = 64

    def record(self, rows: int, size: int) -> None:
        """Record the size in bytes of a block of `rows` rows."""
        self.rows = max(1, min(MAX_BLOCK_ROWS, rows * BLOCK_BYTES // max(size, 1), self.rows * 4))


class ReadPosition:
    """How much of a file has been read."""

    def __init__(self, raw: BinaryIO, size: int) -> None:
        self._raw = raw
        self._size = size

    def fraction(self) -> float | None:
        """The fraction that has been read, 0 to 1; None for a pipe."""
        if not self._size:
            return None
        return min(1.0, self._raw.tell() / self._size)


def stdin_has_more() -> bool:
    """Whether stdin can be read without blocking."""
    try:
        return bool(select.select([sys.stdin.fileno()], [], [], 0)[0])
    except (OSError, ValueError, AttributeError):  # stdin has no file descriptor, as in tests, or is closed
        return True


def strip_byte_order_mark(start: bytes, name: str) -> bytes:
    """The start of a text without the byte order mark of UTF-8. Raises InvalidInput for UTF-16."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InvalidInput(f"{name} is UTF-16, not UTF-8", hint="iconv -f UTF-16 -t UTF-8 FILE makes it UTF-8")
    return start.removeprefix(codecs.BOM_UTF8)


@contextmanager
def open_file(path: Path | str) -> Iterator[tuple[BinaryIO, ReadPosition]]:
    """Open a file, or stdin for `-`, to read bytes; gzip is decompressed.

    Raises NotFound if there is no such file, InvalidInput if it cannot be read or is not gzip.
    """
    if path == STDIN:
        if sys.stdin is None:
            raise InvalidInput("there are no rows on stdin: it is closed")
        stdin = sys.stdin.buffer
        is_gzip = hasattr(stdin, "peek") and stdin.peek(len(_GZIP)).startswith(_GZIP)
        with _decompressed(stdin, "stdin") if is_gzip else nullcontext(stdin) as file:
            yield file, ReadPosition(stdin, 0)
        return
    try:
        raw = open(path, "rb")  # noqa: SIM115 - closed below
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}") from error
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    with raw:
        position = ReadPosition(raw, os.fstat(raw.fileno()).st_size)
        with _decompressed(raw, path) if str(path).endswith(".gz") else nullcontext(raw) as file:
            yield file, position


@contextmanager
def _decompressed(raw: BinaryIO, path: Path | str) -> Iterator[BinaryIO]:
    with gzip.open(raw) as decompressed:
        try:
            yield cast("BinaryIO", decompressed)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InvalidInput(f"{path}: {error}") from error
