"""Large objects are freed by a thread, which drops their pages without Python's lock."""

from __future__ import annotations

import asyncio
import ctypes
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from waiting import PATIENCE_S, wait_for

from tfsctl.server import request_body
from tfsctl.server.memory_budget import MemoryBudget
from tfsctl.server.process import freeing, loop_yield
from tfsctl.server.process.freeing import free_all, free_large
from tfsctl.server.request_body import RequestBody

SIZE = 8 * 1024 * 1024
ONLY_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="pages are dropped on Linux")


class Libc:
    """Records which memory is given back."""

    def __init__(self) -> None:
        self.dropped: list[tuple[int, int]] = []

    def madvise(self, address: ctypes.c_void_p, length: ctypes.c_size_t, _advice: int) -> int:
        """Record an address and a length."""
        self.dropped.append((address.value or 0, length.value))
        return 0


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Libc:
    """The memory that is given back."""
    recorder = Libc()
    monkeypatch.setattr(freeing, "libc", lambda: recorder)
    return recorder


@pytest.fixture
def callbacks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], object]]]:
    """What a thread has scheduled on the event loop of this thread, which is busy."""
    scheduled: list[Callable[[], object]] = []

    class Loop:
        call_soon_threadsafe = staticmethod(scheduled.append)

    monkeypatch.setattr(loop_yield, "_MAX_WAIT_S", PATIENCE_S)
    monkeypatch.setattr(loop_yield._Served, "loop", None)
    monkeypatch.setattr(loop_yield._Served, "thread", 0)
    loop: Any = Loop()
    loop_yield.serve(loop)
    yield scheduled
    for callback in scheduled:
        callback()


def array() -> np.ndarray:
    """A large array with memory of its own."""
    return np.ones(SIZE, np.uint8)


def sent_bytes() -> bytes:
    """A large body."""
    return b"x" * SIZE


def strings() -> np.ndarray:
    """A few large strings."""
    return np.array([sent_bytes(), b"a", sent_bytes()], object)


def test_large_objects_are_freed_once_the_callback_has_ended(callbacks: list[Callable[[], object]]) -> None:
    """The callback may still refer to them."""
    large = array()
    is_alive = weakref.ref(large)
    free_large([large])
    del large
    wait_for(lambda: bool(callbacks))
    assert is_alive() is not None
    callbacks.pop(0)()
    wait_for(lambda: is_alive() is None)


def test_small_objects_are_freed_at_once(
    callbacks: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread would take longer."""
    given: list[object] = []
    monkeypatch.setattr(freeing, "free_by", given.append)
    free_large([b"small", np.zeros(10), np.array([b"a", b"b"], object), 3])
    assert not given
    assert not callbacks


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (sent_bytes, 1),
        (array, 1),
        (lambda: array().reshape(2, -1)[:1], 1),
        (lambda: np.frombuffer(sent_bytes(), np.int32), 1),
        (strings, 2),
        (lambda: b"x" * (SIZE // 4), 0),
    ],
    ids=["bytes", "array", "view of an array", "view of bytes", "strings", "in the heap"],
)
@ONLY_LINUX
def test_pages_are_dropped_first(memory: Libc, make: Callable[[], object], count: int) -> None:
    """Those of blocks that are mapped on their own, and nothing beyond the object."""
    objects = [make()]
    freeing._free(objects)
    assert not objects
    assert [SIZE - 3 * 4096 < length <= SIZE for _, length in memory.dropped] == [True] * count


@ONLY_LINUX
def test_what_others_refer_to_is_left_alone(memory: Libc) -> None:
    """They may still read it."""
    body, values = sent_bytes(), array()
    window, view = memoryview(b"y" * SIZE), values[::2]
    freeing._free([body, values, values.reshape(2, -1), view, window.obj])
    assert not memory.dropped
    assert (body[:2], values[0], view[0], window[0]) == (b"xx", 1, 1, ord("y"))


@ONLY_LINUX
def test_dropping_pages_does_not_damage_what_is_around() -> None:
    """Real memory: neighbours keep their contents, and memory that is allocated next can be used."""
    neighbours = [bytes([number]) * (SIZE + number) for number in range(1, 8)]
    sums = [hash(item) for item in neighbours[::2]]
    odd: list[Any] = neighbours[1::2]
    neighbours = neighbours[::2]
    free_all(odd)
    wait_for(lambda: not odd)
    assert [hash(bytes(memoryview(item))) for item in neighbours] == sums
    assert array().all()


@pytest.mark.parametrize("size", [1024, 2**18], ids=["chunks that are joined", "large chunks"])
def test_a_large_body_is_freed_by_the_thread(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Its chunks when they are joined, the whole when the request is over."""
    freed: list[list[bytes]] = []
    monkeypatch.setattr(request_body, "free_all", lambda chunks: freed.append(list(chunks)))

    async def receive() -> None:
        body = RequestBody(asyncio.get_running_loop(), MemoryBudget(2**30), object(), {b"content-length": b"2097152"})
        for _ in range(0, 2**21, size):
            body.add(bytes(size))
        body.end()
        assert await body.body(2**30) == bytes(2**21)
        body.on_served()

    asyncio.run(receive())
    chunks, whole = freed
    assert sum(map(len, chunks)) == 2**21
    assert set(map(type, chunks)) == {bytes}
    assert [len(part) for part in whole] == [2**21]
