"""The queue serves clients in turn, and drops removed requests at a constant cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from tfsctl.server.execution.fair_queue import FairQueue
from tfsctl.server.execution.pending_run import PendingRun


@pytest.fixture
def pending() -> Iterator[Callable[[str], PendingRun]]:
    """Make requests of a client."""
    loop = asyncio.new_event_loop()

    def make(client: str) -> PendingRun:
        async def run() -> PendingRun:
            run = PendingRun([], [], b"payload", rows=1, nbytes=7)
            run.client = client
            return run

        return loop.run_until_complete(run())

    yield make
    loop.close()


def popped(queue: FairQueue) -> list[PendingRun]:
    """All requests, in the order in which the queue returns them."""
    return list(iter(queue.pop, None))


def test_requests_of_one_client_keep_their_order(pending: Callable[[str], PendingRun]) -> None:
    queue = FairQueue()
    runs = [pending("a") for _ in range(5)]
    for run in runs:
        queue.push(run)
    assert queue.length == 5
    assert popped(queue) == runs
    assert queue.length == 0


def test_clients_are_served_in_turn(pending: Callable[[str], PendingRun]) -> None:
    """A client that sends many requests first does not delay the single request of another."""
    queue = FairQueue()
    for client in ("a",) * 5 + ("b",) * 2 + ("c",):
        queue.push(pending(client))
    assert "".join(str(run.client) for run in popped(queue)) == "abcabaaa"


def test_removed_requests_are_skipped(pending: Callable[[str], PendingRun]) -> None:
    queue = FairQueue()
    runs = [pending("a") for _ in range(4)]
    for run in runs:
        queue.push(run)
    queue.remove(runs[0])
    queue.remove(runs[2])
    assert queue.length == 2
    assert popped(queue) == [runs[1], runs[3]]


def test_removing_a_burst_takes_constant_work_for_each_request(pending: Callable[[str], PendingRun]) -> None:
    """20,000 requests of a client that left, among those of others, in any order."""
    queue = FairQueue()
    burst = [pending("a") for _ in range(20_000)]
    others = [pending("b") for _ in range(100)]
    for run in (*burst, *others):
        queue.push(run)
    for run in (*burst[::2], *reversed(burst[1::2])):
        queue.remove(run)
    assert queue.operations < 4 * len(burst)
    assert queue.length == 100
    assert popped(queue) == others


def test_removed_requests_do_not_pile_up(pending: Callable[[str], PendingRun]) -> None:
    """Requests that are pushed and removed again and again do not pile up."""
    queue = FairQueue()
    for _ in range(10):
        burst = [pending("a") for _ in range(1000)]
        for run in burst:
            queue.push(run)
        for run in burst:
            queue.remove(run)
    assert queue.pop() is None
    assert queue.operations < 4 * 10_000


def test_the_requests_ahead_of_a_client_are_counted(pending: Callable[[str], PendingRun]) -> None:
    """One of each client for each of its own, but no more than wait."""
    queue = FairQueue()
    assert queue.ahead_of("a") == 0
    for client in ("a",) * 100 + ("b",) * 2:
        queue.push(pending(client))
    assert [queue.ahead_of(client) for client in ("a", "b", "c")] == [102, 6, 2]
