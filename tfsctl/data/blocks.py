"""What every reader of files gives: blocks of consecutive rows, of a size that stays in memory."""

from __future__ import annotations

import gzip
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from tfsctl.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    import numpy as np

    Column = Sequence[object] | np.ndarray

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


@contextmanager
def opened(path: Path | str) -> Iterator[tuple[BinaryIO, Progress]]:
    """A file, or stdin for `-`, open for reading bytes; `.gz` is unpacked. Raises NotFound and InvalidInput."""
    if path == STDIN:
        yield sys.stdin.buffer, Progress(sys.stdin.buffer, 0)
        return
    try:
        raw = open(path, "rb")  # noqa: SIM115 - closed below
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}") from error
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    with raw:
        progress = Progress(raw, os.fstat(raw.fileno()).st_size)
        if not str(path).endswith(".gz"):
            yield raw, progress
            return
        with gzip.open(raw) as unpacked:
            try:
                yield cast("BinaryIO", unpacked), progress
            except (gzip.BadGzipFile, EOFError) as error:
                raise InvalidInput(f"{path}: {error}") from error
