"""The threads that read and write large bodies and messages, so that the event loop is free meanwhile.

Very large ones share one thread, one after the other: each takes many times its size in memory while it is decoded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tfsctl.server.limits import MIB
from tfsctl.server.process import memory

_THREADS = 2
HUGE_BYTES = MIB + 1
"""From this size on, one thread does the work on several bodies one after the other."""
_T = TypeVar("_T")


class WorkerThreads:
    """Runs work on large bodies. These threads never load models. Their names begin with `name`."""

    def __init__(self, name: str) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=name)
        self._huge = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-huge")

    def run(self, size: int, work: Callable[..., _T], *arguments: object) -> asyncio.Future[_T]:
        """Run `work`, which reads or writes about `size` bytes."""
        loop = asyncio.get_running_loop()
        if size < HUGE_BYTES:
            return loop.run_in_executor(self._threads, work, *arguments)
        return loop.run_in_executor(self._huge, _run_and_trim, work, arguments)


def _run_and_trim(work: Callable[..., _T], arguments: tuple[object, ...]) -> _T:
    """Do the work, and give the memory that it freed back to the system."""
    try:
        return work(*arguments)
    finally:
        memory.release_free_heap()
