"""Large arrays of strings, which are freed in small pieces.

Freeing an array of a million strings takes 50 ms in one call, during which no other Python thread runs, and it happens
in whichever thread drops the last reference: often that of the event loop.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from functools import lru_cache
from queue import SimpleQueue

import numpy as np

from tfsctl.core.arrays import PIECE_VALUES, object_array, pieces

_MIN_VALUES = 8 * PIECE_VALUES
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

    def add_array(self, strings: np.ndarray) -> None:
        """Append the strings of an array."""
        if strings.size <= _MIN_VALUES:
            self._parts.append(strings.reshape(-1))
        else:
            self._parts += [part.copy() for part in pieces(strings)]
        self.size += strings.size

    def array(self) -> np.ndarray:
        """All strings in one flat array. Many are freed by a thread, once the array and its views are gone."""
        if len(self._parts) == 1:
            return self._parts[0]
        array = np.empty(self.size, object)
        at = 0
        for part in self._parts:
            array[at : at + part.size] = part
            at += part.size
        if array.size >= _MIN_VALUES:
            # The parts own the strings as well, so that freeing the array frees no string.
            weakref.finalize(array, _garbage().put, self._parts).atexit = False
        return array


@lru_cache(maxsize=None)
def _garbage() -> SimpleQueue[_Parts]:
    """The queue of what is to be freed, read by a thread that never ends."""
    queue: SimpleQueue[_Parts] = SimpleQueue()
    threading.Thread(target=_free, args=(queue,), name="free", daemon=True).start()
    return queue


def _free(queue: SimpleQueue[_Parts]) -> None:
    while True:
        parts = queue.get()
        while parts:
            parts.pop()
