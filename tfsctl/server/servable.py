"""One loaded version of a model, and where its runs take place: on the event loop when quick, else in threads."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfsctl.server.session import BoundSignature, Endpoint, Session
from tfsctl.server.status import Code, ServingError

QUICK_RUN_S = 0.001  # a longer run would keep other requests waiting; a hand-over to a thread costs a tenth of this
QUICK_INPUT_BYTES = 256 * 1024  # a request this large says nothing about the others' runs
_RECENT_RUNS = 9


class Servable:
    """A version that can answer. Counts what is running on it, so that it leaves only when its last request is done."""

    def __init__(self, name: str, version: int, session: Session) -> None:
        self.name = name
        self.version = version
        self.session = session
        self.in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._recent_s: deque[float] = deque(maxlen=_RECENT_RUNS)
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix=f"run-{name}-{version}")

    def signature(self, name: str) -> BoundSignature | None:
        """The signature of that name, or None."""
        return self.session.signature(name)

    @property
    def runs_quickly(self) -> bool:
        """Whether recent runs were short enough for the event loop; false until a few have been measured."""
        return len(self._recent_s) == _RECENT_RUNS and statistics.median(self._recent_s) < QUICK_RUN_S

    async def run(
        self, feeds: Sequence[tuple[Endpoint, np.ndarray]], fetches: Sequence[Endpoint], *, deadline_s: float | None
    ) -> list[np.ndarray]:
        """Run the graph. `deadline_s` is a time.monotonic() moment; past it, DEADLINE_EXCEEDED ends the run."""
        timeout_ms = 0
        if deadline_s is not None:
            timeout_ms = int((deadline_s - time.monotonic()) * 1000)
            if timeout_ms <= 0:
                raise ServingError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
        self.in_flight += 1
        self._idle.clear()
        try:
            if self.runs_quickly and sum(array.nbytes for _, array in feeds) < QUICK_INPUT_BYTES:
                return self._timed_run(feeds, fetches, 0)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._timed_run, feeds, fetches, timeout_ms)
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._idle.set()

    def _timed_run(
        self, feeds: Sequence[tuple[Endpoint, np.ndarray]], fetches: Sequence[Endpoint], timeout_ms: int
    ) -> list[np.ndarray]:
        start = time.perf_counter()
        arrays = self.session.run(feeds, fetches, timeout_ms=timeout_ms)
        self._recent_s.append(time.perf_counter() - start)
        return arrays

    async def drain_and_close(self) -> None:
        """Wait for the last request, then free the session."""
        await self._idle.wait()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._threads.shutdown(wait=True)
        self.session.close()


def load(name: str, version: int, directory: Path, *, tags: Sequence[str], config: bytes) -> Servable:
    """Load one version directory. Takes as long as the model takes; call it off the event loop."""
    return Servable(name, version, Session(directory, tags=tags, config=config))
