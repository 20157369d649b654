"""The memory budget without a server: which requests are refused, which connections wait, and which are resumed."""

from __future__ import annotations

from functools import partial

import pytest

from tfsctl.server.limits import default_held_bytes
from tfsctl.server.memory_budget import BudgetExceededError, MemoryBudget

KIB = 1024
LIMIT = 1000 * KIB


def test_large_requests_are_refused_above_the_limit() -> None:
    """And do not count."""
    budget = MemoryBudget(LIMIT)
    budget.reserve(900 * KIB, 0)
    with pytest.raises(BudgetExceededError):
        budget.reserve(200 * KIB, 0)
    assert budget.used == 900 * KIB

    budget.remove(500 * KIB)
    budget.reserve(200 * KIB, 0)
    assert budget.used == 600 * KIB


def test_small_requests_have_a_reserve() -> None:
    """A request that holds little is accepted although large ones use up the budget, up to a quarter more."""
    budget = MemoryBudget(LIMIT)
    budget.reserve(LIMIT, 0)
    for _ in range(5):
        budget.reserve(50 * KIB, 0)
    with pytest.raises(BudgetExceededError):
        budget.reserve(50 * KIB, 0)
    with pytest.raises(BudgetExceededError):
        MemoryBudget(0).reserve(50 * KIB, 50 * KIB)


def test_connections_that_hold_much_wait_in_order() -> None:
    """Above half of the limit only the first of them is read from, and then the next when its body is complete."""
    budget, resumed = MemoryBudget(LIMIT), []
    budget.reserve(600 * KIB, 0)

    assert not budget.must_wait("small", 10 * KIB, lambda: resumed.append("small"), connections=2)
    assert not budget.must_wait("first", 300 * KIB, lambda: resumed.append("first"), connections=2)
    assert budget.must_wait("second", 300 * KIB, lambda: resumed.append("second"), connections=2)
    assert budget.must_wait("third", 300 * KIB, lambda: resumed.append("third"), connections=2)
    assert not budget.must_wait("first", 400 * KIB, lambda: resumed.append("first"), connections=2)

    budget.stop_waiting("first")
    assert resumed == ["second"]
    assert not budget.must_wait("second", 300 * KIB, lambda: None, connections=2)
    budget.stop_waiting("second")
    assert resumed == ["second", "third"]


def test_all_connections_resume_below_half_of_the_limit() -> None:
    budget = MemoryBudget(LIMIT)
    resumed: list[str] = []
    budget.reserve(600 * KIB, 0)
    for name in ("first", "second"):
        budget.must_wait(name, 600 * KIB, partial(resumed.append, name), connections=2)
    budget.remove(200 * KIB)

    assert resumed == ["first", "second"]
    assert not budget.must_wait("third", 400 * KIB, lambda: None, connections=2)


def test_the_default_is_a_share_of_memory_with_a_minimum() -> None:
    """So that an ordinary request is never refused."""
    assert default_held_bytes() >= 64 * KIB * KIB
