"""Work for what comes together: begun when the turns of the event loop bring nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_AT_MOST = 3


class Turns:
    """Calls `work` after something has come, and once the turns of the loop bring no more of it; three turns at most.

    `waiting` tells how much there is that more of it would be good for.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, waiting: Callable[[], int], work: Callable[[], None]) -> None:
        self._loop, self._waiting, self._work = loop, waiting, work
        self._is_due = False
        self._seen = self._taken = 0

    def come(self) -> None:
        """Something waits."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        waiting = self._waiting()
        if waiting > self._seen and self._taken < _AT_MOST:
            self._seen, self._taken = waiting, self._taken + 1
            self._loop.call_soon(self._look)
            return
        self._is_due, self._seen, self._taken = False, 0, 0
        self._work()
