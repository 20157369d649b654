"""Frees large objects in a thread, so that the event loop does not.

Freeing a body of 32 MB gives its pages back to the system, in one call of 3 to 6 ms during which no other Python thread
runs, and it happens in whichever thread drops the last reference: mostly that of the event loop, where the body, the
arrays and the response of a request came to 21 ms in one turn. The thread drops the pages first, without Python's lock.

NumPy is imported when it is needed: it starts threads, and signals are blocked only after this module is imported.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from queue import SimpleQueue
from typing import Any

from tfsctl.server.process.libc import libc
from tfsctl.server.process.loop_yield import wait_for_loop, yield_to_loop

_LARGE_BYTES = 1024 * 1024  # a smaller object is freed in less than 0.2 ms
_MAPPED_BYTES = 4 * 1024 * 1024  # such a block is not part of the heap: freeing it unmaps it
_MAX_STRINGS = 4096  # of an array: a larger one frees its strings in pieces (`string_arrays`)
_MADV_DONTNEED = 4  # linux/mman.h


def free_large(objects: Iterable[object]) -> None:
    """Let a thread free those of these bytes and arrays that are large.

    Call it on the event loop, when nobody else needs them: the thread waits until the current callback has ended, as that
    may still refer to them. Objects that others refer to later than that are left alone.
    """
    large = [item for item in objects if _size_of(item) >= _LARGE_BYTES]
    if large:
        free_all(large)


def free_all(objects: list[Any]) -> None:
    """Like `free_large`, for many objects that are large together. The list is emptied."""
    free_by(partial(_free, objects))


def free_by(work: Callable[[], object]) -> None:
    """Let the thread call `work`, which frees something in pieces."""
    _garbage().put(work)


def _size_of(item: object) -> int:
    if isinstance(item, bytes):
        return len(item)
    import numpy as np

    if isinstance(item, np.ndarray):
        is_strings = item.dtype.hasobject and item.size <= _MAX_STRINGS
        return sum(map(len, item.ravel().tolist())) if is_strings else item.nbytes
    return 0


@lru_cache(maxsize=None)
def _garbage() -> SimpleQueue[Callable[[], object]]:
    """The queue of what is to be freed, read by a thread that never ends."""
    queue: SimpleQueue[Callable[[], object]] = SimpleQueue()
    threading.Thread(target=_work, args=(queue,), name="free", daemon=True).start()
    return queue


def _work(queue: SimpleQueue[Callable[[], object]]) -> None:
    while True:
        queue.get()()


def _free(objects: list[Any]) -> None:
    """Drop the references of a list, which should be the last ones, one after the other."""
    import numpy as np

    wait_for_loop()
    while objects:
        last = objects[-1]
        if isinstance(last, np.ndarray) and last.base is not None:
            objects[-1] = last.base
        elif isinstance(last, np.ndarray) and last.dtype.hasobject and last.size <= _MAX_STRINGS:
            objects[-1:] = last.ravel().tolist()
        else:
            del last
            _drop_pages(objects)
            objects.pop()
            yield_to_loop()
            continue
        del last


def _drop_pages(objects: list[Any]) -> None:
    """Give the memory of the last object of a list back to the system, if nothing but the list refers to the object.

    Other Python threads run meanwhile. The object must not be used any more.
    """
    address, size = _memory_of(objects[-1])
    if size >= _MAPPED_BYTES and sys.platform == "linux" and _references(objects) == _REFERENCES_OF_LIST:
        start = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
        length = (address + size - start) // mmap.PAGESIZE * mmap.PAGESIZE
        libc().madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_DONTNEED)


def _memory_of(item: object) -> tuple[int, int]:
    """The address and the size of what an object holds in memory of its own."""
    import numpy as np

    if isinstance(item, bytes):
        return np.frombuffer(item, np.uint8).ctypes.data if item else 0, len(item)
    if isinstance(item, np.ndarray) and item.flags.owndata and not item.dtype.hasobject:
        return item.ctypes.data, item.nbytes
    return 0, 0


def _references(objects: list[Any]) -> int:
    """How many references there are to the last object of a list, with those that this call makes."""
    return sys.getrefcount(objects[-1])


_REFERENCES_OF_LIST = _references([object()])
