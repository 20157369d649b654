"""Requests that come together done together: gathered over the turns of the event loop, and parted again as answers.

Most of what a small request costs is Python stepping from one thing to the next; what many requests do at once costs it
once. Whoever asks here decides what may be one piece of work, by a key, and does it alone where that comes to nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

from tfsctl.server.execution.jobs import too_late
from tfsctl.server.execution.loop_debouncer import LoopDebouncer
from tfsctl.server.status import Code, ServingError

log = logging.getLogger(__name__)

_Key = TypeVar("_Key", bound=Hashable)
_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


class Together(Generic[_Key, _Item, _Answer]):
    """Gathers items with the same key, on one event loop.

    `most` tells how many of a key may be done at once (1: none may), and `work` does it: it gives an answer for each
    item, None for one that has to be done alone, and may raise where all have to be. `deadline_s` are time.monotonic() moments.
    """

    def __init__(
        self,
        most: Callable[[_Key], int],
        work: Callable[[_Key, list[_Item], float | None], Awaitable[Sequence[_Answer | None]]],
    ) -> None:
        self._most, self._work = most, work
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[_Key, list[tuple[_Item, float | None, asyncio.Future[_Answer | None]]]] = {}
        self._count = 0
        self._debouncer = LoopDebouncer(self._loop, lambda: self._count, self._begin)
        self._were_together = False  # those that waited last: so will be the next, most likely
        self._tasks: set[asyncio.Task[None]] = set()
        self.running = 0
        """How many requests there are that may ask; whoever does counts."""

    @property
    def is_worth_it(self) -> bool:
        """Whether there are others to wait for."""
        return self.running > 1 or self._were_together

    def ask(self, key: _Key, item: _Item, deadline_s: float | None) -> asyncio.Future[_Answer | None]:
        """The answer to come; None where the item has to be done alone. Raises DEADLINE_EXCEEDED."""
        answer: asyncio.Future[_Answer | None] = self._loop.create_future()
        self._waiting.setdefault(key, []).append((item, deadline_s, answer))
        self._count += 1
        self._debouncer.notify()
        return answer

    def _begin(self) -> None:
        waiting, self._waiting, self._count = self._waiting, {}, 0
        self._were_together = False
        for key, asked in waiting.items():
            most = self._most(key) if len(asked) > 1 else 1
            for start in range(0, len(asked), most):
                group = asked[start : start + most]
                if len(group) == 1:
                    _settle(group[0][2], None)
                    continue
                self._were_together = True
                task = self._loop.create_task(self._do(key, group))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _do(self, key: _Key, group: list[tuple[_Item, float | None, asyncio.Future[_Answer | None]]]) -> None:
        now_s = time.monotonic()
        for _, deadline_s, waiting in group:
            if deadline_s is not None and deadline_s < now_s:
                _settle(waiting, too_late())
        group = [one for one in group if not one[2].done()]
        if not group:
            return
        deadlines_s = [deadline_s for _, deadline_s, _ in group if deadline_s is not None]
        last_s = max(deadlines_s) if len(deadlines_s) == len(group) else None
        answers: Sequence[_Answer | ServingError | None] = [None] * len(group)
        try:
            answers = await self._work(key, [item for item, _, _ in group], last_s)
        except ServingError as error:
            if error.code is Code.DEADLINE_EXCEEDED:
                answers = [error] * len(group)
        except Exception:  # the one door for bugs: they may go well alone
            log.exception("Requests failed together")
        for (_, _, waiting), outcome in zip(group, answers, strict=True):
            _settle(waiting, outcome)


def _settle(waiting: asyncio.Future[_Answer | None], answer: _Answer | ServingError | None) -> None:
    if waiting.done():
        return
    if isinstance(answer, ServingError):
        waiting.set_exception(answer)
    else:
        waiting.set_result(answer)
