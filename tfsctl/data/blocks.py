"""What every reader of files gives: blocks of consecutive rows, of a size that stays in memory."""

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
MOST_ROWS = 8192
STDIN = "-"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a value that could not be read, and says why, or (empty) that it is not there; the file goes on."""

    why: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows. `column` gives the values of one of `names`; a nameless column (`""`) is for the only input.

    Without any `names` no row could be read: `column("")` says why.

    `is_text`: values are text cells, to be read as what the input wants. `label`, if any, is a column that goes into
    the results as it is. `part` is how much of the source has been read with this block, 0 to 1.
    """

    count: int
    names: tuple[str, ...]
    column: Callable[[str], Column]
    is_text: bool = False
    label: tuple[str, Sequence[str]] | None = None
    part: float | None = None


class Source(Protocol):
    """A file of rows."""

    @property
    def name(self) -> str:
        """What people call it."""

    def blocks(self) -> Iterator[Block]:
        """All rows, in order. Raises InvalidInput for what cannot be read at all."""


class Pace:
    """How many rows make a block of about BLOCK_BYTES, learnt from the blocks before."""

    def __init__(self) -> None:
        self.rows = 64

    def learn(self, rows: int, size: int) -> None:
        """Note what a block of so many rows took."""
        self.rows = max(1, min(MOST_ROWS, rows * BLOCK_BYTES // max(size, 1), self.rows * 4))


class Progress:
    """How far into a file its reader is."""

    def __init__(self, raw: BinaryIO, size: int) -> None:
        self._raw = raw
        self._size = size
        self.read = 0

    def part(self) -> float | None:
        """The part that has been read, 0 to 1; None for a pipe."""
        if not self._size:
            return None
        return min(1.0, self._raw.tell() / self._size)


def stdin_has_more() -> bool:
    """Whether something can be read from stdin without waiting for whoever writes to it."""
    try:
        return bool(select.select([sys.stdin.fileno()], [], [], 0)[0])
    except (OSError, ValueError):  # it is no file of the system's
        return True


def without_mark(start: bytes, name: str) -> bytes:
    """The beginning of a text without the byte order mark of UTF-8. Raises InvalidInput for that of UTF-16."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InvalidInput(f"{name} is UTF-16, not UTF-8", hint="iconv -f UTF-16 -t UTF-8 FILE makes it UTF-8")
    return start.removeprefix(codecs.BOM_UTF8)


@contextmanager
def opened(path: Path | str) -> Iterator[tuple[BinaryIO, Progress]]:
    """A file, or stdin for `-`, open for reading bytes; gzip is unpacked. Raises NotFound and InvalidInput."""
    if path == STDIN:
        stdin = sys.stdin.buffer
        is_gzip = hasattr(stdin, "peek") and stdin.peek(len(_GZIP)).startswith(_GZIP)
        with _unpacked(stdin, "stdin") if is_gzip else nullcontext(stdin) as file:
            yield file, Progress(stdin, 0)
        return
    try:
        raw = open(path, "rb")  # noqa: SIM115 - closed below
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}") from error
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    with raw:
        progress = Progress(raw, os.fstat(raw.fileno()).st_size)
        with _unpacked(raw, path) if str(path).endswith(".gz") else nullcontext(raw) as file:
            yield file, progress


@contextmanager
def _unpacked(raw: BinaryIO, path: Path | str) -> Iterator[BinaryIO]:
    with gzip.open(raw) as unpacked:
        try:
            yield cast("BinaryIO", unpacked)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InvalidInput(f"{path}: {error}") from error
