"""Memory that the process does not need any more, and settings of the allocator and the garbage collector.

Starting TensorFlow reads about 400 MB of its library once: operators, kernels, symbols. Those pages are unchanged parts
of the file, so the kernel can drop them; it maps them again from its cache when they are used.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tfsctl.server.process.resources import cpu_count

log = logging.getLogger(__name__)

_MADV_DONTNEED = 4  # linux/mman.h
_M_ARENA_MAX = -8  # malloc.h
_M_MMAP_THRESHOLD = -3
_GC_THRESHOLD = 20_000  # allocations between two collections of the youngest generation
_RELEASE_INTERVAL_S = 0.25
_LARGE_BYTES = 4 * 1024 * 1024


def limit_malloc_arenas() -> None:
    """Give glibc's allocator one arena per CPU (default: eight). Call it before any thread starts.

    Threads come and go with versions of models, and memory that one leaves free in its arena is of no use to the next.
    MALLOC_ARENA_MAX in the environment takes precedence. Blocks of 4 MiB and more are mapped on their own whatever was
    freed before (glibc would raise that limit up to 32 MiB), so that a large request leaves nothing behind.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(ctypes.c_int(_M_ARENA_MAX), ctypes.c_int(max(2, cpu_count())))
        mallopt(ctypes.c_int(_M_MMAP_THRESHOLD), ctypes.c_int(_LARGE_BYTES))


def limit_allocations(more_bytes: int) -> None:
    """Let this process allocate `more_bytes` in addition to what it has; what is more fails instead of being granted.

    Linux grants memory that it does not have, and kills a process that uses it. TensorFlow reports an allocation that
    fails as RESOURCE_EXHAUSTED.
    """
    import psutil

    used = psutil.Process().memory_info()
    limit = getattr(used, "data", used.vms) + more_bytes
    with suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def freeze_startup_objects() -> None:
    """Exempt all objects made so far from garbage collection, and collect less often: requests leave no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)


def release_unused_pages() -> None:
    """Drop the unchanged pages of large libraries and the free pages of the heap. Does nothing outside Linux."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    try:
        for start, size in _unchanged_library_mappings():
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_DONTNEED)
    except OSError as error:
        log.debug("Cannot read the memory map of the process: %s", error)
    release_free_heap()


def release_free_heap() -> None:
    """Give the free pages of the heap back to the system. Does nothing without glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(ctypes.c_size_t(0))


@contextmanager
def unused_pages_released() -> Iterator[None]:
    """Call `release_unused_pages` now and every quarter of a second while the block runs.

    Loading a large model needs its size in memory; the library pages that loading uses should not add to it.
    """
    is_done = threading.Event()

    def keep_releasing() -> None:
        while True:
            release_unused_pages()
            if is_done.wait(_RELEASE_INTERVAL_S):
                return

    thread = threading.Thread(target=keep_releasing, name="memory", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_done.set()
        thread.join()


def _unchanged_library_mappings() -> Iterator[tuple[int, int]]:
    """Address and size of the large read-only file mappings whose pages are as on disk.

    Pages that the linker wrote to (relocations) are private to the process ("anonymous") and would be lost.
    """
    import psutil

    for mapping in psutil.Process().memory_maps(grouped=False):
        is_unchanged = not mapping.anonymous and not mapping.swap
        is_file = mapping.path.startswith("/") and mapping.perms in ("r-xp", "r--p")
        if is_file and is_unchanged and mapping.rss >= _LARGE_BYTES:
            first, _, last = mapping.addr.partition("-")
            yield int(first, 16), int(last, 16) - int(first, 16)
