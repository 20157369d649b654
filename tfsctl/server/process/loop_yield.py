"""Lets the event loop run between two pieces of a thread's work.

The event loop needs Python's lock for each callback: for each connection that data has arrived on, each timer, each
answer. A thread that works without a pause keeps it waiting each time, for the switch interval (0.5 ms) and until the
thread's current call into C ends. A thread that calls NumPy releases the lock and takes it again at once, mostly before
the loop, which that wakes, has a CPU. So one turn of the loop took up to 60 ms of the threads' CPU time beside bodies of
32 MB that were read in pieces of 4 ms. Therefore a thread waits after each piece until the loop has had a turn.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from time import thread_time
from typing import TypeVar

_MIN_WORK_S = 0.002  # of CPU time, between two pauses: a pause takes about 0.1 ms
_MAX_WAIT_S = 0.05  # then it is the loop itself that takes long
_T = TypeVar("_T")


class _Served:
    """The event loop of the process, None without one, and the thread that runs it."""

    loop: asyncio.AbstractEventLoop | None = None
    thread = 0


class _OfThread(threading.local):
    """Each thread's CPU time when it last waited for the loop."""

    waited_s = 0.0


_of_thread = _OfThread()


def serve(loop: asyncio.AbstractEventLoop) -> None:
    """Let all other threads wait for this event loop from now on. Call it in the thread that runs the loop."""
    _Served.loop, _Served.thread = loop, threading.get_ident()


def yield_to_loop() -> None:
    """Wait until the event loop has had a turn, if this thread has used 2 ms of CPU time since it last waited.

    Does nothing in the thread of the loop, or without a loop. Do not call it with a lock that the loop may wait for.
    """
    if _Served.loop is None or thread_time() < _of_thread.waited_s + _MIN_WORK_S:
        return
    wait_for_loop()
    _of_thread.waited_s = thread_time()


def wait_for_loop() -> None:
    """Like `yield_to_loop`, whatever this thread has done. The loop's current callback has ended then."""
    loop = _Served.loop
    if loop is None or threading.get_ident() == _Served.thread:
        return
    has_run = threading.Lock()
    has_run.acquire()
    try:
        loop.call_soon_threadsafe(has_run.release)
    except RuntimeError:
        return  # the loop is closed
    has_run.acquire(timeout=_MAX_WAIT_S)


def yielding(pieces: Iterable[_T]) -> Iterator[_T]:
    """The pieces. After each, the event loop may run."""
    for piece in pieces:
        yield piece
        yield_to_loop()
