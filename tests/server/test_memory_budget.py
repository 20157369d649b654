"""The memory budget without a server: which requests are refused, which bodies wait, and which get memory next."""

from __future__ import annotations

import pytest

from tfsctl.server.limits import default_held_bytes
from tfsctl.server.memory_budget import READ_BYTES, BodyMemory, BudgetExceededError, MemoryBudget

KIB = 1024
LIMIT = 1000 * KIB


class Body:
    """A large body that arrives."""

    def __init__(
        self, budget: MemoryBudget, announced: int | None, *, client: object = None, beginning: int = 0
    ) -> None:
        self.client, self._budget = client or self, budget
        self.granted: list[int] = []
        self.error: Exception | None = None
        self.memory = BodyMemory(budget, self, announced)
        self.memory.begin(0, beginning)

    def on_memory_granted(self, size: int) -> None:
        """Note how much may be read."""
        self.granted.append(size)

    def refuse_body(self, error: Exception) -> None:
        """Note why, and drop the body."""
        self.error = error
        self.memory.release()
        self._budget.resume_waiting()


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


def test_bodies_wait_above_a_quarter_of_the_limit() -> None:
    """One of them gets memory in spite of that; the others do in their order, as memory is given back."""
    budget = MemoryBudget(LIMIT)
    bodies = [Body(budget, 60 * KIB) for _ in range(7)]
    assert [body.granted for body in bodies] == [[60 * KIB]] * 5 + [[]] * 2
    assert (budget.used, budget.waiting) == (300 * KIB, 2)

    bodies[4].memory.complete()
    assert not bodies[6].granted
    assert budget.used == 300 * KIB  # nothing of the body has arrived: its place is taken by the next
    for body in bodies:
        body.memory.release()
    assert budget.used == budget.waiting == budget.beginnings == 0


def test_connections_get_memory_in_turn() -> None:
    """A connection with many bodies does not keep another one waiting until it has none."""
    budget = MemoryBudget(LIMIT)
    budget.reserve(LIMIT, 0)
    many = [Body(budget, 60 * KIB, client="many") for _ in range(3)]
    single = Body(budget, 60 * KIB, client="single")
    assert budget.waiting == 4

    budget.remove(LIMIT - 100 * KIB)
    assert [bool(body.granted) for body in (*many, single)] == [True, True, False, True]


def test_beginnings_of_bodies_that_wait_have_a_limit_of_their_own() -> None:
    """They take nothing from the requests that are served."""
    budget = MemoryBudget(LIMIT)
    budget.reserve(LIMIT, 0)
    bodies = [Body(budget, 200 * KIB, beginning=100 * KIB) for _ in range(10)]
    assert (budget.used, budget.beginnings, budget.waiting) == (LIMIT, LIMIT, 10)
    with pytest.raises(BudgetExceededError):
        Body(budget, 200 * KIB, beginning=100 * KIB)

    for body in bodies:
        body.memory.release()
    assert budget.beginnings == 100 * KIB  # of the refused one, whose owner releases it


def test_a_body_gets_memory_as_it_arrives() -> None:
    """As much as has arrived, so that a large body has few parts, and at least one step."""
    budget = MemoryBudget(400 * 1024 * KIB)
    body = Body(budget, 20 * 1024 * KIB)
    step = budget.step
    assert body.granted == [step]
    while budget.used < 20 * 1024 * KIB:
        body.memory.take(READ_BYTES)
    assert sum(body.granted) == budget.used == 20 * 1024 * KIB
    assert len(body.granted) < 8
    body.memory.release()
    assert budget.used == 0


def test_bodies_that_wait_for_each_other_do_not_all_stop() -> None:
    """Their length is not known, and together they exceed the limit: one continues; it is refused if it never fits."""
    budget = MemoryBudget(LIMIT)
    bodies = [Body(budget, None) for _ in range(6)]
    while (going := [body for body in bodies if not body.memory.is_waiting and body.error is None]) and not any(
        body.error for body in bodies
    ):
        for body in going:
            body.memory.take(10 * KIB)
            assert budget.used <= LIMIT
    assert sum(body.error is not None for body in bodies) == 1
    assert any(not body.memory.is_waiting for body in bodies if body.error is None)
    for body in bodies:
        if body.error is None:
            body.memory.release()
    assert budget.used == budget.waiting == 0


def test_memory_is_taken_from_stalled_bodies() -> None:
    """If others wait. What has arrived of them stays, and they continue when it is their turn."""
    budget = MemoryBudget(LIMIT)
    stalled = [Body(budget, 60 * KIB) for _ in range(5)]
    stalled[0].memory.take(10 * KIB)
    budget.take_from_stalled()
    budget.take_from_stalled()
    assert budget.used == 300 * KIB  # nobody waits for it

    other = Body(budget, 60 * KIB)
    assert not other.granted
    budget.take_from_stalled()
    assert other.granted == [60 * KIB]
    assert all(len(body.granted) in (1, 2) for body in stalled)
    assert budget.used <= 310 * KIB

    for body in (*stalled, other):
        body.memory.release()
    assert budget.used == budget.waiting == budget.beginnings == 0


def test_bodies_that_progress_keep_their_memory() -> None:
    budget = MemoryBudget(1000 * LIMIT)
    body, others = Body(budget, 100 * LIMIT), [Body(budget, 60 * LIMIT) for _ in range(300)]
    assert budget.waiting
    for _ in range(10):
        body.memory.take(100 * KIB)
        budget.take_from_stalled()
        assert not body.memory.is_waiting
    assert any(other.memory.is_waiting for other in others)


def test_the_default_is_a_share_of_memory_with_a_minimum() -> None:
    """So that an ordinary request is never refused."""
    assert default_held_bytes() >= 64 * KIB * KIB
