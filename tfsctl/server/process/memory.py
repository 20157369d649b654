"""Memory that the process does not need any more, and settings of the allocator and the garbage collector.

Starting TensorFlow reads about 400 MB of its library once: operators, kernels, symbols. Those pages are unchanged parts
of the file, so the kernel can drop them; it maps them again from its cache when they are used.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from time import monotonic, process_time
from typing import NamedTuple

from tfsctl.server.process.resources import cpu_count

log = logging.getLogger(__name__)

_MADV_DONTNEED = 4  # linux/mman.h
_M_ARENA_MAX = -8  # malloc.h
_M_MMAP_THRESHOLD = -3
_M_TOP_PAD = -2
_M_TRIM_THRESHOLD = -1
_GC_THRESHOLD = 5_000  # objects in the youngest generation, which then takes 1 ms to collect
_GC_NEVER = 2**30
_GC_COLLECTIONS = 20  # of the youngest generation, after which the others are collected
_GC_LATE_COLLECTIONS = 400  # after which they are, even if more than _GC_REQUESTS are running
_GC_REQUESTS = 500  # the most running requests that count as few
_RELEASE_INTERVAL_S = 0.25
_LARGE_BYTES = 4 * 1024 * 1024
_TRIM_INTERVAL_S = 2.0
_UNUSED_BYTES = 4 * 1024 * 1024  # that make a trim of an idle server worthwhile
_IDLE_CPU = 0.05  # of one CPU: slow clients and probes take less
_IDLE_CHECKS = 5  # ten seconds, so that bursts of requests may use the free memory of the last one
_FREED_BYTES = 128 * 1024  # make glibc look whether it can shrink the arena: FASTBIN_CONSOLIDATION_THRESHOLD is 64 KiB
_DEFAULT_TOP_PAD_BYTES = 128 * 1024  # of glibc


class _HeapLimits(NamedTuple):
    """How much freed memory the heap keeps, in bytes.

    - `block`: larger blocks are mapped on their own, and go back to the system when they are freed
    - `arena`: what may be free at the end of an arena before glibc gives it back
    - `padding`: what glibc leaves of it then. If it is less than an arena's part (64 MiB), an empty part goes back
    - `reserve`: what HeapTrimmer leaves free under load
    """

    block: int
    arena: int
    padding: int
    reserve: int


_MIB = 1024 * 1024
_SMALL_TENSORS = _HeapLimits(_LARGE_BYTES, 32 * _MIB, _DEFAULT_TOP_PAD_BYTES, 32 * _MIB)
_LARGE_TENSORS = _HeapLimits(32 * _MIB, 64 * _MIB, 64 * _MIB, 128 * _MIB)  # 32 MiB is glibc's largest for a block


class _Heap:
    """The limits of this process's heap."""

    limits = _SMALL_TENSORS


def limit_heap() -> None:
    """Give glibc's allocator one arena per CPU (default: eight). Call it before any thread starts.

    Threads come and go with versions of models, and memory that one leaves free in its arena is of no use to the next.
    MALLOC_ARENA_MAX in the environment takes precedence. Blocks of 4 MiB and more are mapped on their own whatever was
    freed before (glibc would raise that limit up to 32 MiB), so that a large request leaves nothing behind. Smaller ones
    stay in the heap when they are freed, up to 32 MiB, until HeapTrimmer gives them back: with a fixed limit for blocks,
    glibc would give back everything above 128 KiB at once, and an image as JSON took 660 page faults instead of 130.
    """
    if _may_set_malloc_options():
        _set_malloc_option(_M_ARENA_MAX, _max_arenas())
    _set_heap_limits()


def expect_large_tensors() -> None:
    """Keep free blocks of up to 32 MiB in the heap from now on: a model runs whose tensors are that large.

    MobileNetV2 allocates up to 20 MB for a tensor of eight images, many times in a run. If each is mapped on its own, an
    image costs 1,000 to 2,000 page faults and a third more CPU time.
    """
    if _Heap.limits is not _LARGE_TENSORS:
        _Heap.limits = _LARGE_TENSORS
        _set_heap_limits()


def _set_heap_limits() -> None:
    if _may_set_malloc_options():
        limits = _Heap.limits
        _set_malloc_option(_M_MMAP_THRESHOLD, limits.block)
        _set_malloc_option(_M_TRIM_THRESHOLD, limits.arena)
        _set_malloc_option(_M_TOP_PAD, limits.padding)


def _may_set_malloc_options() -> bool:
    return sys.platform == "linux" and hasattr(_libc(), "mallopt") and "MALLOC_ARENA_MAX" not in os.environ


def _max_arenas() -> int:
    return max(2, cpu_count())


def _set_malloc_option(option: int, value: int) -> None:
    _libc().mallopt(ctypes.c_int(option), ctypes.c_int(value))


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
    """Exempt all objects made so far from garbage collection, and collect less often: requests leave no cycles.

    Python collects the youngest generation only, because a collection of the others takes 25 ms of the event loop while
    10,000 requests wait. `HeapTrimmer` collects them while few requests wait; it does so on Linux only.
    """
    gc.collect()
    gc.freeze()
    older = _GC_NEVER if sys.platform == "linux" else _GC_COLLECTIONS
    gc.set_threshold(_GC_THRESHOLD, older, older)


def release_unused_pages() -> None:
    """Drop the unchanged pages of large libraries and the free pages of the heap. Does nothing outside Linux."""
    if sys.platform != "linux":
        return
    libc = _libc()
    try:
        for start, size in _unchanged_library_mappings():
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_DONTNEED)
    except OSError as error:
        log.debug("Cannot read the memory map of the process: %s", error)
    release_free_heap()


def release_free_heap() -> None:
    """Give the free pages of the heap back to the system. Does nothing without glibc."""
    trim = getattr(_libc(), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(ctypes.c_size_t(0))


def trim_heap() -> None:
    """Call `release_free_heap`, and give back the free memory at the end of each arena. After `limit_heap`.

    malloc_trim does the latter for the main arena only. glibc does it for another arena when a thread that uses the
    arena frees a large block, if that memory exceeds the trim threshold (heap_trim in malloc/arena.c). A new thread uses
    the next arena of the ring, or one that no other thread uses: twice as many threads as arenas, all alive at once,
    reach every arena.
    """
    release_free_heap()
    if not _may_set_malloc_options():
        return
    malloc, free = _libc().malloc, _libc().free
    malloc.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    is_done = threading.Event()

    def free_large_block() -> None:
        free(malloc(ctypes.c_size_t(_FREED_BYTES)))
        is_done.wait()

    threads = [threading.Thread(target=free_large_block, name="memory", daemon=True) for _ in range(2 * _max_arenas())]
    _set_malloc_option(_M_TRIM_THRESHOLD, _FREED_BYTES)
    _set_malloc_option(_M_TOP_PAD, _DEFAULT_TOP_PAD_BYTES)
    with suppress(RuntimeError):  # the limit of threads is reached
        for thread in threads:
            thread.start()
    is_done.set()
    for thread in threads:
        if thread.ident is not None:
            thread.join()
    _set_heap_limits()


class HeapTrimmer:
    """Gives the free pages of the heap back to the system once there are enough of them.

    glibc keeps what was freed between blocks that are still in use: after a flood, or after a model was unloaded, that
    may be more than what is in use. Under load, `check` leaves up to 32 MiB of it to the requests to come (128 MiB after
    `expect_large_tensors`): each page that they take again after a trim costs a page fault.

    Once the server has been idle for five checks in a row, `check` trims in any case, after a garbage collection:
    versions that were unloaded and some status responses leave cycles. As long as the server is idle, 4 MiB are then
    enough for another trim.
    """

    def __init__(self) -> None:
        self._left = _unused_bytes()  # by the last trim: parts of pages, stacks, memory that is not the allocator's
        self._idle_checks = 0

    def check(self, *, is_idle: bool = False, requests: int = 0) -> bool:
        """Trim if it is worthwhile, or if the server has become idle. Returns whether it trimmed.

        `requests` is the number of running requests: garbage is collected more seldom while there are many.
        """
        self._idle_checks = self._idle_checks + 1 if is_idle else 0
        becomes_idle = self._idle_checks == _IDLE_CHECKS
        if becomes_idle or gc.get_count()[1] >= (_GC_COLLECTIONS if requests <= _GC_REQUESTS else _GC_LATE_COLLECTIONS):
            gc.collect()
        unused = _unused_bytes()
        enough = _Heap.limits.reserve if self._idle_checks < _IDLE_CHECKS else _UNUSED_BYTES
        if unused - self._left < enough and not becomes_idle:
            self._left = min(self._left, unused)
            return False
        trim_heap()
        self._left = _unused_bytes()
        return True


async def trim_regularly(running_requests: Callable[[], int]) -> None:
    """Check every two seconds, in a thread, whether the heap should be trimmed. Runs until it is cancelled.

    `running_requests` returns the number of running requests. The server counts as idle if it used less than 5 % of a
    CPU since the last check.
    """
    if sys.platform != "linux":
        return
    trimmer = HeapTrimmer()
    while True:
        used_s, since_s = process_time(), monotonic()
        await asyncio.sleep(_TRIM_INTERVAL_S)
        is_idle = process_time() - used_s < _IDLE_CPU * (monotonic() - since_s)
        await asyncio.to_thread(trimmer.check, is_idle=is_idle, requests=running_requests())


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


@lru_cache(maxsize=None)
def _libc() -> ctypes.CDLL:
    """The C library. Each CDLL object is a reference cycle, so there is only one."""
    return ctypes.CDLL(None)


class _MallocInfo(ctypes.Structure):
    """struct mallinfo2 of malloc.h."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def _unused_bytes() -> int:
    """The private resident memory of the process that the allocator has not given to anybody.

    glibc before 2.33 does not tell what it has given away in 64 bits: all private memory counts there.
    """
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text(encoding="ascii").split())
    private = (resident - shared) * os.sysconf("SC_PAGE_SIZE")
    mallinfo = getattr(_libc(), "mallinfo2", None)
    if mallinfo is None:
        return private
    mallinfo.restype = _MallocInfo
    info = mallinfo()
    return private - int(info.uordblks) - int(info.hblkhd)
