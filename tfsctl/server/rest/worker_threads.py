"""The threads that read and write large REST bodies, so that they do not hold the event loop.

Very large bodies share one thread, one after the other: each takes many times its size in memory while it is decoded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tfsctl.server.limits import MIB

_THREADS = 2
_HUGE_BYTES = MIB
_T = TypeVar("_T")


class WorkerThreads:
    """Runs work on large bodies. These threads never load models."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="json")
        self._huge = ThreadPoolExecutor(1, thread_name_prefix="json-huge")

    def run(self, size: int, work: Callable[..., _T], *arguments: object) -> asyncio.Future[_T]:
        """Run `work`, which reads or writes about `size` bytes."""
        threads = self._huge if size > _HUGE_BYTES else self._threads
        return asyncio.get_running_loop().run_in_executor(threads, work, *arguments)
