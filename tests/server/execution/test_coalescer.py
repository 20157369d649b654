"""What comes together is done together, and what cannot be is given back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from tfsctl.server.execution.coalescer import Together
from tfsctl.server.execution.loop_debouncer import LoopDebouncer
from tfsctl.server.status import Code, ServingError

Work = Callable[[str, list[int], "float | None"], Awaitable[Sequence["int | None"]]]


class Doubling:
    """Work that doubles numbers, and remembers what it was given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.given: list[tuple[str, list[int]]] = []
        self.deadlines_s: list[float | None] = []
        self._error = error

    async def __call__(self, key: str, items: list[int], deadline_s: float | None) -> Sequence[int | None]:
        """An answer for each item."""
        self.given.append((key, items))
        self.deadlines_s.append(deadline_s)
        if self._error is not None:
            raise self._error
        return [None if item < 0 else item * 2 for item in items]


def asked(
    work: Work, items: Sequence[tuple[str, int]], most: int = 100, deadline_s: float | None = None
) -> list[object]:
    """What becomes of items that are asked in one turn."""

    async def ask() -> list[object]:
        together: Together[str, int, int] = Together(lambda _: most, work)
        answers = [together.ask(key, item, deadline_s) for key, item in items]
        return await asyncio.gather(*answers, return_exceptions=True)

    return asyncio.run(ask())


def test_by_key() -> None:
    """Items with the same key are one piece of work; answers go to those who asked."""
    work = Doubling()
    assert asked(work, [("a", 1), ("b", 2), ("a", 3), ("b", -1)]) == [2, 4, 6, None]
    assert work.given == [("a", [1, 3]), ("b", [2, -1])]


def test_so_many_at_most() -> None:
    """More are several pieces of work; one that is left over goes alone."""
    work = Doubling()
    assert asked(work, [("a", item) for item in range(5)], most=2) == [0, 2, 4, 6, None]
    assert work.given == [("a", [0, 1]), ("a", [2, 3])]


def test_alone() -> None:
    """Nothing is done for one by itself, nor for those of which none may go together."""
    work = Doubling()
    assert asked(work, [("a", 1), ("b", 2)]) == [None, None]
    assert asked(work, [("a", 1), ("a", 2)], most=1) == [None, None]
    assert work.given == []


def test_a_failure_is_looked_at_alone(caplog: pytest.LogCaptureFixture) -> None:
    """One of several may be at fault. A bug is logged."""
    refused = ServingError(Code.INVALID_ARGUMENT, "no")
    assert asked(Doubling(refused), [("a", 1), ("a", 2)]) == [None, None]
    assert not caplog.records
    assert asked(Doubling(ZeroDivisionError()), [("a", 1), ("a", 2)]) == [None, None]
    assert "Requests failed together" in caplog.text


def test_too_late() -> None:
    """What is too late is not done, and what was too slow not again."""
    work = Doubling()
    (first, second) = asked(work, [("a", 1), ("a", 2)], deadline_s=time.monotonic() - 1)
    assert isinstance(first, ServingError)
    assert isinstance(second, ServingError)
    assert {first.code, second.code} == {Code.DEADLINE_EXCEEDED}
    assert work.given == []
    slow = ServingError(Code.DEADLINE_EXCEEDED, "slow")
    assert asked(Doubling(slow), [("a", 1), ("a", 2)]) == [slow, slow]


def test_the_last_deadline_counts() -> None:
    """Work goes on for the one that waits longest."""

    async def ask(deadlines_s: Sequence[float | None]) -> float | None:
        work = Doubling()
        together: Together[str, int, int] = Together(lambda _: 100, work)
        await asyncio.gather(*[together.ask("a", 1, deadline_s) for deadline_s in deadlines_s])
        (given_s,) = work.deadlines_s
        return given_s

    now_s = time.monotonic()
    assert asyncio.run(ask([now_s + 60, now_s + 90])) == now_s + 90
    assert asyncio.run(ask([now_s + 60, None])) is None


def test_worth_it() -> None:
    """Whoever is alone does not wait for others, unless there were some a moment ago."""

    async def ask() -> list[bool]:
        together: Together[str, int, int] = Together(lambda _: 100, Doubling())
        together.running = 1
        worth_it = [together.is_worth_it]
        together.running = 2
        worth_it.append(together.is_worth_it)
        together.running = 1
        await asyncio.gather(together.ask("a", 1, None), together.ask("a", 2, None))
        worth_it.append(together.is_worth_it)
        await together.ask("a", 1, None)
        return [*worth_it, together.is_worth_it]

    assert asyncio.run(ask()) == [False, True, True, False]


def test_debouncer_are_waited_for() -> None:
    """While the turns bring more; three at most."""

    async def notify(turns: int) -> list[int]:
        waiting: list[int] = []
        seen: list[int] = []
        done = asyncio.Event()

        def work() -> None:
            seen.append(len(waiting))
            done.set()

        gathering = LoopDebouncer(asyncio.get_running_loop(), lambda: len(waiting), work)
        for turn in range(turns):
            waiting.append(turn)
            gathering.notify()
            await asyncio.sleep(0)
        await done.wait()
        return seen[:1]

    assert asyncio.run(notify(1)) == [1]
    assert asyncio.run(notify(2)) == [2]
    assert asyncio.run(notify(20))[0] < 6
