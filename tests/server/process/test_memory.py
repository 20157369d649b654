"""Memory: startup pages are released, changed pages are kept, and threads share a few malloc arenas."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import mmap
import os
import subprocess
import sys
import threading
import weakref
from itertools import count
from pathlib import Path
from queue import SimpleQueue

import pytest
from model_servers import resident_mb, running_server
from rest_requests import predict_one
from scale_models import write_scale_model
from waiting import eventually

from tfsctl.server.process import memory
from tfsctl.server.process.resources import cpu_count

GOAL_MB = 400


@pytest.mark.server
def test_a_small_model_takes_less_than_400_mb(tmp_path: Path) -> None:
    """And answers are right after pages were released."""
    write_scale_model(tmp_path / "hot" / "1", 3.0)
    with running_server({"hot": tmp_path / "hot"}, tmp_path) as server:
        eventually(lambda: resident_mb(server.pid) < GOAL_MB, expected=True)
        assert [predict_one(server) for _ in range(50)] == [3.0] * 50
        assert resident_mb(server.pid) < GOAL_MB


def test_allocations_beyond_the_limit_fail() -> None:
    """Instead of being granted, and the process killed when it uses them."""
    program = (
        "from tfsctl.server.process.memory import limit_allocations\n"
        "limit_allocations(100 * 2**20)\n"
        "bytearray(50 * 2**20)\n"
        "try:\n    bytearray(200 * 2**20)\n"
        "except MemoryError:\n    print('refused')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=240)
    assert ended.stdout == "refused\n"


def test_only_unchanged_file_pages_are_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapping that was written to keeps its contents; one that was only read is read again from the file."""
    size = 2 * memory._LARGE_BYTES
    (tmp_path / "library").write_bytes(b"\x01" * size)
    with (tmp_path / "library").open("r+b") as file:
        read = mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        written = mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        assert read[:: mmap.PAGESIZE].count(1) == size // mmap.PAGESIZE  # every page of it is resident now
        written[:] = b"\x02" * size
        address = ctypes.addressof(ctypes.c_char.from_buffer(written))
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), 1) == 0  # as the linker does

        monkeypatch.setattr(memory, "_unchanged_library_mappings", _recorded := _Recorded())
        memory.release_unused_pages()

        assert _is_among(read, _recorded.parts)
        assert all(start != address for start, _ in _recorded.parts)
        assert (read[0], read[size - 1], written[0], written[size - 1]) == (1, 1, 2, 2)


class _Recorded:
    def __init__(self) -> None:
        self.parts: list[tuple[int, int]] = []
        self._look = memory._unchanged_library_mappings

    def __call__(self) -> list[tuple[int, int]]:
        self.parts = [part for part in self._look() if part[1] <= 2 * memory._LARGE_BYTES]
        return self.parts


def _is_among(mapping: mmap.mmap, parts: list[tuple[int, int]]) -> bool:
    return any(size == len(mapping) for _, size in parts)


ARENAS = """
import ctypes, threading
from tfsctl.server.process import memory
memory.limit_heap()
library = ctypes.CDLL(None)
together = threading.Barrier(17)
def allocate():
    library.malloc(1000)
    together.wait()
    together.wait()
for _ in range(16):
    threading.Thread(target=allocate).start()
together.wait()
library.malloc_stats()
together.wait()
"""


@pytest.mark.server
@pytest.mark.parametrize("arenas", [None, 5])
def test_threads_share_a_few_arenas(arenas: int | None) -> None:
    """One per CPU, whatever the number of threads; MALLOC_ARENA_MAX takes precedence."""
    environment = {**os.environ, **({} if arenas is None else {"MALLOC_ARENA_MAX": str(arenas)})}
    message = subprocess.run(
        [sys.executable, "-c", ARENAS], env=environment, capture_output=True, text=True, check=True
    )
    assert message.stderr.count("Arena ") == (arenas or max(2, cpu_count())), message.stderr


FREED_IN_A_THREAD = """
import ctypes, sys, threading
from tfsctl.server.process import memory
memory.limit_heap()
if sys.argv[1:]:
    memory.expect_large_tensors()
library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def allocate_and_free():
    blocks = [library.malloc(100_000) for _ in range(300)]
    for block in blocks:
        ctypes.memset(block, 1, 100_000)
    for block in blocks:
        library.free(block)
    before = memory._unused_bytes()
    memory.trim_heap()
    print((before - memory._unused_bytes()) // 1_000_000)
for _ in range(6):
    thread = threading.Thread(target=allocate_and_free)
    thread.start()
    thread.join()
"""


@pytest.mark.server
@pytest.mark.skipif(sys.platform != "linux", reason="nothing is trimmed")
@pytest.mark.parametrize("arguments", [[], ["large"]])
def test_what_threads_have_freed_is_given_back(arguments: list[str]) -> None:
    """30 MB at the end of an arena, whichever it is, and however much may be free there under load."""
    command = [sys.executable, "-c", FREED_IN_A_THREAD, *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=True)

    assert [mb for mb in map(int, found.stdout.split()) if mb < 28] == []


LARGE_BLOCKS = """
import ctypes, resource, threading
from tfsctl.server.process import memory
memory.limit_heap()
library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        blocks = [library.malloc(20_000_000) for _ in range(4)]
        for block in blocks:
            ctypes.memset(block, 1, 20_000_000)
        for block in blocks:
            library.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def run():
    print(faults(5))
    memory.expect_large_tensors()
    faults(1)
    print(faults(5))
thread = threading.Thread(target=run)  # as TensorFlow's, it has an arena in parts of 64 MiB
thread.start()
thread.join()
"""


@pytest.mark.server
@pytest.mark.skipif(sys.platform != "linux", reason="nothing is limited")
def test_large_blocks_are_used_again_once_large_tensors_are_expected() -> None:
    """Instead of being mapped anew each time, with a page fault for every 4 KiB."""
    found = subprocess.run([sys.executable, "-c", LARGE_BLOCKS], capture_output=True, text=True, check=True)
    mapped, kept = map(int, found.stdout.split())

    assert mapped > 5 * 4 * 20_000_000 // mmap.PAGESIZE * 0.9
    assert kept < mapped / 20


class _Heap:
    """What the allocator keeps: `unused` bytes now, of which a trim leaves `kept`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.unused = self.kept = self.trims = 0
        monkeypatch.setattr(memory, "_unused_bytes", lambda: self.unused)
        monkeypatch.setattr(memory, "trim_heap", self._trim)

    def _trim(self) -> None:
        self.trims += 1
        self.unused = self.kept


def test_heap_is_trimmed_under_load_if_more_than_the_reserve_became_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a trim cannot give back does not cause another one; what becomes free after it does."""
    heap, reserve = _Heap(monkeypatch), memory._SMALL_TENSORS.reserve
    heap.unused = 10 * reserve
    trimmer = memory.HeapTrimmer()
    heap.unused += reserve - 1
    assert not trimmer.check()

    heap.unused += 1
    heap.kept = 7 * reserve
    assert trimmer.check()
    assert not trimmer.check()

    heap.unused = 3 * reserve  # used by others again
    assert not trimmer.check()
    heap.unused = 4 * reserve
    assert trimmer.check()
    assert heap.trims == 2


def test_memory_that_requests_use_again_and_again_is_not_trimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in short pauses of the load either. What a flood has left, beyond the reserve, is."""
    heap, trimmer = _Heap(monkeypatch), memory.HeapTrimmer()
    for check in range(100):
        heap.unused = (memory._SMALL_TENSORS.reserve - 1) * (check % 2)
        assert not trimmer.check(is_idle=check % memory._IDLE_CHECKS != 0)

    heap.unused = 2 * memory._SMALL_TENSORS.reserve
    assert trimmer.check()
    assert heap.trims == 1


def test_heap_is_trimmed_when_the_server_becomes_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, however little is free, after unreachable cycles were collected; then again if much becomes free."""
    heap, trimmer = _Heap(monkeypatch), memory.HeapTrimmer()
    cycle = _Cycle()
    kept = weakref.ref(cycle)
    gc.disable()
    try:
        del cycle
        for is_idle in (False, *[True] * (memory._IDLE_CHECKS - 1)):
            assert not trimmer.check(is_idle=is_idle)
        assert kept() is not None
        assert trimmer.check(is_idle=True)
        assert kept() is None
    finally:
        gc.enable()

    heap.unused = memory._UNUSED_BYTES - 1
    assert not trimmer.check(is_idle=True)
    heap.unused += 1
    assert trimmer.check(is_idle=True)
    for is_idle in (False, *[True] * (memory._IDLE_CHECKS - 1)):
        assert not trimmer.check(is_idle=is_idle)
    assert trimmer.check(is_idle=True)
    assert heap.trims == 3


@pytest.mark.parametrize(
    ("requests", "collections"),
    [(memory._GC_REQUESTS, memory._GC_COLLECTIONS), (memory._GC_REQUESTS + 1, memory._GC_LATE_COLLECTIONS)],
)
def test_older_garbage_is_collected_under_load(
    monkeypatch: pytest.MonkeyPatch, requests: int, collections: int
) -> None:
    """After twenty collections of the youngest generation; after more if many requests wait."""
    _heap, trimmer = _Heap(monkeypatch), memory.HeapTrimmer()
    cycle = _Cycle()
    kept = weakref.ref(cycle)
    gc.disable()
    try:
        gc.collect()
        del cycle
        for _ in range(collections - 1):
            gc.collect(0)
        trimmer.check(requests=requests)
        assert kept() is not None
        gc.collect(0)
        trimmer.check(requests=requests)
        assert kept() is None
    finally:
        gc.enable()


FROZEN = """
import gc
from tfsctl.server.process.memory import freeze_startup_objects
freeze_startup_objects()
collections = [stats["collections"] for stats in gc.get_stats()]
kept = [[] for _ in range(200_000)]
print(*[stats["collections"] - before for stats, before in zip(gc.get_stats(), collections)])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Python collects all generations elsewhere")
def test_many_objects_do_not_cause_long_collections() -> None:
    """The youngest generation is small, and the others are not collected by Python."""
    argv = [sys.executable, "-c", FROZEN]
    young, *older = map(
        int, subprocess.run(argv, capture_output=True, text=True, check=True, timeout=240).stdout.split()
    )
    assert young >= 30
    assert older == [0, 0]


class _Cycle:
    def __init__(self) -> None:
        self.itself = self


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is trimmed")
@pytest.mark.parametrize(("cpu_s", "is_idle"), [(0.0, True), (1000.0, False)])
def test_idle_means_little_cpu_since_the_last_check(
    cpu_s: float, is_idle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cpu_s` is what the process has used at each call."""
    seen: SimpleQueue[tuple[bool, int]] = SimpleQueue()

    class Trimmer:
        def check(self, *, is_idle: bool, requests: int) -> None:
            seen.put((is_idle, requests))

    monkeypatch.setattr(memory, "_TRIM_INTERVAL_S", 0.001)
    monkeypatch.setattr(memory, "HeapTrimmer", Trimmer)
    monkeypatch.setattr(memory, "process_time", count(0.0, cpu_s).__next__)

    async def first_seen() -> tuple[bool, int]:
        trimming = asyncio.create_task(memory.trim_regularly(lambda: 7))
        first = await asyncio.to_thread(seen.get)
        trimming.cancel()
        return first

    assert asyncio.run(first_seen()) == (is_idle, 7)


KEPT = """
from tfsctl.server.process import memory
memory.limit_heap()
library = memory._libc()
library.malloc.restype = library.memset.restype = memory.ctypes.c_void_p
library.malloc.argtypes, library.free.argtypes = [memory.ctypes.c_size_t], [memory.ctypes.c_void_p]
library.memset.argtypes = [memory.ctypes.c_void_p, memory.ctypes.c_int, memory.ctypes.c_size_t]
trimmer = memory.HeapTrimmer()
before = memory._unused_bytes()
blocks = [library.malloc(50_000) for _ in range(1000)]
for block in blocks:
    library.memset(block, 1, 50_000)
used = memory._unused_bytes()
for block in blocks[:-1]:  # the last one keeps the heap from shrinking at its end
    library.free(block)
freed = memory._unused_bytes()
print(used - before, freed - before, trimmer.check(), memory._unused_bytes() - before, trimmer.check())
"""


@pytest.mark.server
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
def test_freed_blocks_are_given_back() -> None:
    """50 MB in blocks of 50 KB: only those that were freed count as unused, and a trim gives them back."""
    ran = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    used, freed, has_trimmed, left, has_trimmed_again = ran.stdout.split()

    assert int(used) < 2_000_000
    assert int(freed) > 45_000_000
    assert (has_trimmed, has_trimmed_again) == ("True", "False")
    assert int(left) < 4_000_000


def test_pages_are_released_while_the_block_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and again until the block ends."""
    released: list[int] = []
    monkeypatch.setattr(memory, "_RELEASE_INTERVAL_S", 0.001)
    monkeypatch.setattr(memory, "release_unused_pages", lambda: released.append(1))

    with memory.unused_pages_released():
        eventually(lambda: len(released) > 2, expected=True)
    count = len(released)

    assert not [thread for thread in threading.enumerate() if thread.name == "memory"]
    assert len(released) == count
