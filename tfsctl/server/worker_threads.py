"""The threads that read and write large bodies and messages, so that the event loop is free meanwhile.

Very large ones share one thread, one after the other: each takes many times its size in memory while it is decoded.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tfsctl.server.limits import MIB

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
        """Run `work`, which reads or writes about `size` bytes, in a copy of the current context."""
        threads = self._threads if size < HUGE_BYTES else self._huge
        job = _Job(work, arguments)
        done = asyncio.get_running_loop().run_in_executor(threads, contextvars.copy_context().run, job)
        done.add_done_callback(job.drop)
        return done


class _Job:
    """Work with its arguments, which are dropped when the work begins or is cancelled.

    A cancelled job stays in the queue of its thread until its turn. Its arguments may be many megabytes.
    """

    __slots__ = ("_call",)

    def __init__(self, work: Callable[..., Any], arguments: tuple[object, ...]) -> None:
        self._call: tuple[Callable[..., Any], tuple[object, ...]] | None = (work, arguments)

    def __call__(self) -> Any:  # noqa: ANN401 - what the work returns
        call, self._call = self._call, None
        if call is None:
            return None  # cancelled at the moment when its turn came
        work, arguments = call
        del call
        return work(*arguments)

    def drop(self, _done: asyncio.Future[Any]) -> None:
        """Forget the work."""
        self._call = None
