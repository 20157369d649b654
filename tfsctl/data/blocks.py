"""Blocks of consecutive rows, which every file reader yields, and what the readers share.

A block is about BLOCK_BYTES of the file, so memory stays constant whatever the size of the file.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import select
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from tfsctl.errors import InvalidInput, NotFound
from tfsctl.inputs.encodings import BYTE_ORDER_MARKS, ENCODING_HINT

if TYPE_CHECKING:
    import numpy as np

    Column = Sequence[object] | np.ndarray

_GZIP = b"\x1f\x8b"
BLOCK_BYTES = 1 << 20
MAX_BLOCK_ROWS = 8192
STDIN = "-"
_C1_CONTROLS = re.compile("[\x80-\x9f]")


@dataclass(frozen=True, slots=True)
class UnreadableValue:
    """Stands for a value that could not be read. An empty `reason` means that the value is missing."""

    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class CellFormat:
    """How the text cells of one column are written.

    - `decimal`: the decimal mark, `.` or `,`; None: the file has no options for it (lines of text)
    - `missing`: cells that mean a missing value
    """

    decimal: str | None = None
    missing: frozenset[str] = frozenset()


PLAIN_CELLS = CellFormat()


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows of a file, by column.

    - `column(name)`: the values of one of `names`. The column `""` belongs to the only input of a model.
    - Without any `names`, no row could be read: `column("")` holds UnreadableValues.
    - `is_text`: the values are text, to be parsed as the dtype of the input; `cell_formats` says how, by column.
    - `label`: the name and values of a column that is copied unchanged to the results.
    - `fraction_read`: how much of the file was read up to here, 0 to 1; None if unknown.
    """

    count: int
    names: tuple[str, ...]
    column: Callable[[str], Column]
    is_text: bool = False
    label: tuple[str, Sequence[str]] | None = None
    fraction_read: float | None = None
    cell_formats: Mapping[str, CellFormat] = field(default_factory=dict)

    def cell_format(self, name: str) -> CellFormat | None:
        """How the text cells of a column are written; None if the values are not text."""
        return self.cell_formats.get(name, PLAIN_CELLS) if self.is_text else None


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
            ENCODING_HINT,
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


def stdin_is_ready() -> bool:
    """Whether stdin can be read without blocking."""
    try:
        return bool(select.select([sys.stdin.fileno()], [], [], 0)[0])
    except (OSError, ValueError, AttributeError):  # stdin has no file descriptor, as in tests, or is closed
        return True


def strip_byte_order_mark(start: bytes) -> bytes:
    """The start of a UTF-8 text without the byte order mark."""
    return start.removeprefix(codecs.BOM_UTF8)


@contextmanager
def open_text(path: Path | str, encoding: str | None) -> Iterator[tuple[BinaryIO, ReadPosition]]:
    """Open a text file, or stdin for `-`, to read it as UTF-8; gzip is decompressed.

    Without an `encoding`, a byte order mark of UTF-16 or UTF-32 is followed, and other bytes are left as they are.
    Raises what `open_file` raises; reading raises InvalidInput for bytes that are not in the encoding.
    """
    with open_file(path) as (file, position):
        if encoding is None and hasattr(file, "peek"):
            start = file.peek(4)[:4]
            encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)
        if encoding is None:
            yield file, position
        else:
            name = "stdin" if path == STDIN else os.path.basename(path)
            yield cast("BinaryIO", io.BufferedReader(_Utf8Stream(file, encoding, name), BLOCK_BYTES)), position


class _Utf8Stream(io.RawIOBase):
    """The text of a file as UTF-8, converted while it is read."""

    def __init__(self, file: BinaryIO, encoding: str, name: str) -> None:
        super().__init__()
        self._file, self._encoding, self._name = file, encoding, name
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._is_latin_1 = codecs.lookup(encoding).name == "iso8859-1"
        self._converted = b""  # and not yet read
        self._lines = 1

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        """Raises InvalidInput for bytes that are not in the encoding."""
        while not self._converted:
            raw = self._file.read1(BLOCK_BYTES // 8)  # type: ignore[attr-defined] # every buffered stream has read1
            self._converted = self._decode(raw).encode()
            if not raw:
                break
        count = min(len(buffer), len(self._converted))
        buffer[:count] = self._converted[:count]
        self._converted = self._converted[count:]
        return count

    def _decode(self, raw: bytes) -> str:
        try:
            text = self._decoder.decode(raw, final=not raw)
        except UnicodeError as error:
            start = error.start if isinstance(error, UnicodeDecodeError) else 0
            line = self._lines + raw[:start].count(b"\n")
            where = f" (byte 0x{error.object[start]:02x})" if isinstance(error, UnicodeDecodeError) else ""
            raise InvalidInput(
                f"{self._name} line {line} is not {self._encoding} text{where}",
                hint="--encoding NAME names the right encoding, such as utf-8, cp1252, latin-1 or utf-16",
            ) from None
        control = _C1_CONTROLS.search(text) if self._is_latin_1 else None
        if control is not None:
            line = self._lines + text.count("\n", 0, control.start())
            raise InvalidInput(
                f"{self._name} line {line} has the byte 0x{ord(control[0]):02x}, a control character in latin-1",
                hint="--encoding cp1252 reads the punctuation and the euro sign of Windows",
            )
        self._lines += text.count("\n")
        return text


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
    import gzip

    with gzip.open(raw) as decompressed:
        try:
            yield cast("BinaryIO", decompressed)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InvalidInput(f"{path}: {error}") from error
