"""Large arrays of strings, which are freed in small pieces.

Freeing an array of a million strings takes 50 ms in one call, during which no other Python thread runs, and it happens
in whichever thread drops the last reference: often that of the event loop.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Sequence
from functools import partial

import numpy as np

from tfsctl.core.arrays import PIECE_VALUES, object_array, pieces
from tfsctl.server.process.freeing import free_by
from tfsctl.server.process.loop_yield import yield_to_loop, yielding

_MIN_VALUES = 8 * PIECE_VALUES
_LONG_STRING_BYTES = 1024 * 1024
_Parts = list[np.ndarray]  # not lists of strings: the garbage collector would look at each string


class StringParts:
    """Strings that are collected for one array."""

    def __init__(self) -> None:
        self._parts: _Parts = []
        self.size = 0
        """The number of strings."""

    def add(self, strings: Sequence[bytes]) -> None:
        """Append at most some thousand strings."""
        self._parts.append(object_array(strings))
        self.size += len(strings)
        yield_to_loop()

    def add_array(self, strings: np.ndarray) -> None:
        """Append the strings of an array."""
        if strings.size <= _MIN_VALUES:
            self._parts.append(strings.reshape(-1))
        else:
            self._parts += [part.copy() for part in yielding(pieces(strings))]
        self.size += strings.size

    def array(self) -> np.ndarray:
        """All strings in one flat array, no longer here. Many are freed by a thread, once it and its views are gone."""
        if len(self._parts) == 1:
            return self._parts.pop()
        array = _LargeArray.of_size(self.size) if self.size >= _MIN_VALUES else np.empty(self.size, object)
        parts, self._parts = self._parts[::-1], []
        at = 0
        while parts:
            part = parts.pop()  # and free it: all of them at the end would take long
            array[at : at + part.size] = part
            at += part.size
            yield_to_loop()
        return array.view(np.ndarray)


class _LargeArray(np.ndarray):
    """An array of strings that a thread empties before it is freed. All others are views of it."""

    __slots__ = ()

    @classmethod
    def of_size(cls, size: int) -> _LargeArray:
        """An array without values.

        Its memory is not NumPy's, which would write None to each place: in one call, of up to 50 ms because each page
        is touched for the first time. NumPy reads the zeros of new memory as None.
        """
        memory = mmap.mmap(-1, size * np.dtype(object).itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return np.ndarray.__new__(cls, (size,), object, memory)

    def __del__(self) -> None:
        """Give the array to the thread; called again when the thread is done."""
        if not isinstance(self.base, np.ndarray) and self[0] is not None and not sys.is_finalizing():
            free_by(partial(_empty, self))


def copy_in_pieces(data: memoryview) -> bytes:
    """A copy of data. If it is long, joining the pieces releases Python's lock."""
    size = len(data)
    if size <= _LONG_STRING_BYTES:
        return bytes(data)
    return b"".join([bytes(data[at : at + _LONG_STRING_BYTES]) for at in range(0, size, _LONG_STRING_BYTES)])


def _empty(array: np.ndarray) -> None:
    """Free the strings of an array in pieces: the first value last, as it marks an emptied array."""
    for start in range(array.size - PIECE_VALUES, -PIECE_VALUES, -PIECE_VALUES):
        array[max(0, start) : start + PIECE_VALUES] = None
        yield_to_loop()
