"""Gives back memory that only the start needed, and lets what it made be.

Setting up TensorFlow touches a quarter of a gigabyte of its library once: operators, kernels, symbols. Those pages are
the file's own, unchanged; the kernel maps them again, from its cache, if they are ever needed again.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

_MADV_DONTNEED = 4  # linux/mman.h
_M_ARENA_MAX = -8  # malloc.h
_ALLOCATIONS_A_ROUND = 20_000
_LARGE_BYTES = 4 * 1024 * 1024


def use_few_arenas() -> None:
    """Let glibc's allocator have an arena a core, unless the environment says otherwise; before any thread starts.

    It would make eight a core. Threads come and go with versions of models, each uses another arena, and what a version
    leaves in one of them the next one does not find.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(ctypes.c_int(_M_ARENA_MAX), ctypes.c_int(max(2, os.cpu_count() or 1)))


def release_start() -> None:
    """Unmap the pages of large libraries that nobody has changed, and what the allocator has left over. Linux only."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    try:
        for start, size in _unchanged_library_parts():
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_DONTNEED)
    except OSError as error:
        log.debug("Cannot read /proc/self/smaps: %s", error)
    release_free(libc)


def keep_start() -> None:
    """Take what the start made out of the garbage collector's rounds, which come rarer: requests leave no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_A_ROUND, 20, 20)


def release_free(libc: ctypes.CDLL | None = None) -> None:
    """Give the allocator's free pages back, where the C library can (glibc)."""
    if sys.platform == "linux":
        trim = getattr(libc or ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(ctypes.c_size_t(0))


def _unchanged_library_parts() -> Iterator[tuple[int, int]]:
    """Address and size of the large read-only mappings of files that are as they are on disk.

    What the linker has written to (relocated data) belongs to the process alone ("anonymous"), and would be lost.
    """
    address = ""
    fields: dict[str, str] = {}
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if not name[:1].isupper():  # the first line of a mapping: 7f00-7f10 r-xp … /path
            address, fields = line, {}
            continue
        fields[name] = value
        if name == "VmFlags" and _is_unchanged(address, fields):
            first, _, last = address.split(maxsplit=1)[0].partition("-")
            start = int(first, 16)
            yield start, int(last, 16) - start


def _is_unchanged(mapping: str, fields: dict[str, str]) -> bool:
    _, permissions, _, _, inode, *path = mapping.split(maxsplit=5)
    if permissions not in ("r-xp", "r--p") or inode == "0" or not path:
        return False
    changed = (fields.get(name, "0 kB").split()[0] for name in ("Anonymous", "Swap", "Locked"))
    return int(fields["Rss"].split()[0]) * 1024 >= _LARGE_BYTES and all(kilobytes == "0" for kilobytes in changed)
