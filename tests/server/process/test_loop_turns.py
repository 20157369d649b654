"""Work that is left for the next turns of the event loop: its order, and how much of it one turn takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest

from tfsctl.server.process import loop_turns
from tfsctl.server.process.loop_turns import _CALLBACKS_S, _LONG_S, FEW, MAX_TURN_BYTES, LoopTurns


class FakeLoop:
    """Keeps what is to be called in the next turn."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], object]] = []
        self.now_s = 100.0

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call it in the next turn."""
        self.soon.append(callback)

    def turn(self) -> None:
        """Have a turn."""
        due, self.soon = self.soon, []
        for callback in due:
            callback()

    def work(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> FakeLoop:
    """An event loop whose clock the test moves."""
    fake = FakeLoop()
    monkeypatch.setattr(loop_turns, "monotonic", lambda: fake.now_s)
    return fake


def turns_on(loop: FakeLoop, per_turn: int = 3) -> LoopTurns:
    """Turns of this loop."""
    return LoopTurns(cast("Any", loop), per_turn)


def test_some_callbacks_are_called_in_each_turn_in_their_order(loop: FakeLoop) -> None:
    """One that waits again comes after those that wait already, and in another turn, even if it is the only one."""
    turns, called = turns_on(loop), list[int]()
    for index in range(7):
        turns.wait(partial(called.append, index))
    turns.wait(lambda: turns.wait(partial(called.append, 8)))
    turns.wait(partial(called.append, 7))
    seen = []
    while loop.soon:
        loop.turn()
        seen.append(len(called))
    assert called == list(range(9))
    assert seen == [3, 6, 8, 9]


def test_callbacks_that_take_long_leave_the_others_for_the_next_turn(loop: FakeLoop) -> None:
    """But one is called in each turn."""
    turns = turns_on(loop)
    for _ in range(3):
        turns.wait(partial(loop.work, _CALLBACKS_S * 1.1))
    counts = 0
    while loop.soon:
        loop.turn()
        counts += 1
    assert counts == 3
    assert loop.now_s == pytest.approx(100 + 3.3 * _CALLBACKS_S)


def test_a_turn_is_over_when_it_has_taken_long(loop: FakeLoop) -> None:
    """Until the next turn. Little work is not timed."""
    turns = turns_on(loop)
    for _ in range(FEW - 1):
        loop.work(_LONG_S)
        turns.count += 1
        assert not turns.is_over()
    turns.count += 1
    assert not turns.is_over()
    loop.work(_LONG_S * 0.9)
    assert not turns.is_over()
    loop.work(_LONG_S * 0.2)
    assert turns.is_over()
    assert turns.is_over()
    loop.turn()
    assert not turns.is_over()


def test_a_turn_reads_a_megabyte(loop: FakeLoop) -> None:
    """Whether others wait to read or not."""
    turns = turns_on(loop)
    for _ in range(2):
        assert not turns.count_read(MAX_TURN_BYTES)
        assert turns.count_read(1)
        loop.turn()
    for _ in range(4):
        turns.wait(lambda: None)
    assert not turns.count_read(MAX_TURN_BYTES)
