"""Delays work by a few iterations of the event loop while more requests arrive, so that they can share it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_MAX_ITERATIONS = 3


class LoopDebouncer:
    """Calls `work` once after any number of notifications.

    After the first `notify`, it waits while each iteration of the loop brings more requests, for at most three
    iterations. `pending` returns how many waiting requests can be coalesced; at 0, `work` is called without waiting.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, pending: Callable[[], int], work: Callable[[], None]) -> None:
        self._loop, self._pending, self._work = loop, pending, work
        self.is_scheduled = False
        self._seen = self._iterations = 0

    def notify(self) -> None:
        """Schedule the work unless it is scheduled already."""
        if not self.is_scheduled:
            self.is_scheduled = True
            self._loop.call_soon(self._check)

    def _check(self) -> None:
        pending = self._pending()
        if pending > self._seen and self._iterations < _MAX_ITERATIONS:
            self._seen, self._iterations = pending, self._iterations + 1
            self._loop.call_soon(self._check)
            return
        self.is_scheduled, self._seen, self._iterations = False, 0, 0
        self._work()
