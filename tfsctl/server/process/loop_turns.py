"""Spreads the work of many connections over several turns of the event loop, so that another client waits less.

One turn serves each connection that data has arrived on: up to a thousand. libuv does not stop in between, but what is
left to do for a connection can wait for the next turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

_LONG_S = 0.003  # after which the rest is left for the next turns
_CALLBACKS_S = 0.002  # of what was left, in one turn
FEW = 16
"""So little work is not timed: that takes a `call_soon`, after which the event loop has another turn."""
MAX_TURN_BYTES = 1024 * 1024
"""Read in one turn of bodies that arrive in parts. Of one body, uvloop would read 8 MB."""


class LoopTurns:
    """Calls callbacks in the next turns, in the order in which they came.

    At least one is called in each turn, at most `per_turn`, and none after they have taken 2 ms.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, per_turn: int) -> None:
        self._loop, self._per_turn = loop, per_turn
        self._waiting: deque[Callable[[], object]] = deque()
        self._is_scheduled = False
        self.count = 0
        """What was done in this turn and perhaps in turns before, as the caller counts it."""
        self._bytes = 0  # read in this turn
        self._is_timed, self._since_s = False, 0.0

    def is_over(self) -> bool:
        """Whether this turn has taken so long that work that comes now should wait: never if `count` is small.

        Work that comes early in a turn does not wait for what was left by other turns, most of which is of one client.
        """
        if self.count < FEW:
            return False
        if not self._is_timed:
            self._is_timed, self._since_s = True, monotonic()
            self._loop.call_soon(self._begin_turn)
        return monotonic() - self._since_s > _LONG_S

    def count_read(self, size: int) -> bool:
        """Count bytes that were read. Returns whether they are too many for this turn.

        It does not matter whether others wait to read: if all bodies were read at the same pace, all would be complete late.
        """
        if not self._bytes:
            self._loop.call_soon(self._begin_turn)
        self._bytes += size
        return self._bytes > MAX_TURN_BYTES

    def _begin_turn(self) -> None:
        self.count = self._bytes = 0
        self._is_timed = False

    def wait(self, callback: Callable[[], object]) -> None:
        """Call `callback` in one of the next turns."""
        self._waiting.append(callback)
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._call_some)

    def _call_some(self) -> None:
        self._begin_turn()  # the call that `is_over` scheduled may come after this one
        self._is_scheduled = False  # one that waits again is called before what it has started
        waiting, end_s = self._waiting, monotonic() + _CALLBACKS_S
        for _ in range(min(len(waiting), self._per_turn)):
            waiting.popleft()()
            if monotonic() > end_s:
                break
        if waiting:
            self._schedule()
