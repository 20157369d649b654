"""How the tasks of requests begin: at once for a request that is alone, otherwise in the next iteration of the loop."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import pytest

from tfsctl.server.http import request_tasks
from tfsctl.server.http.exchange import Application, Exchange
from tfsctl.server.http.request_tasks import RequestTasks
from tfsctl.server.process.loop_turns import LoopTurns
from tfsctl.server.process.shutdown import RunningRequests
from tfsctl.server.request_context import current_request


def served() -> object:
    """The request that the current task serves."""
    return current_request.get()


class FakeExchange:
    """The part of an exchange that RequestTasks uses."""

    target = "/"

    def __init__(self, client: object = "a client", *, has_all: bool = True) -> None:
        self.client = client
        self.is_alone = False
        self.has_all = has_all
        self.task: asyncio.Task[None] | None = None
        self.is_gone = False
        self.has_begun = self.is_served = False
        self.was_alone: list[bool] = []

    def on_served(self) -> None:
        """Record the end."""
        self.is_served = True


def with_tasks(
    application: Callable[[Any], Awaitable[None]],
    work: Callable[[Callable[..., FakeExchange]], Awaitable[None]],
    connections: Sequence[str] = ("one", "two"),
) -> None:
    """Run a test that starts exchanges. `application` serves them while these connections are open.

    They are counted while they are served.
    """

    async def run() -> None:
        running = RunningRequests()
        tasks = RequestTasks(asyncio.get_running_loop(), application, connections, running)

        def start(client: object = "a client", *, is_only: bool = True, has_all: bool = True) -> FakeExchange:
            exchange, before = FakeExchange(client, has_all=has_all), running.running
            tasks.start(cast("Exchange", exchange), is_only=is_only)
            assert running.running == before + (not exchange.is_served)
            return exchange

        await work(start)
        await asyncio.sleep(0)
        assert running.running == 0

    asyncio.run(run())


def test_requests_that_come_late_in_a_turn_begin_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """They count as running, and are never alone. One whose client has left meanwhile is not served."""
    monkeypatch.setattr(LoopTurns, "is_over", lambda _turns: True)
    monkeypatch.setattr(request_tasks, "FEW", 1)
    served_at: list[FakeExchange] = []

    async def application(exchange: FakeExchange) -> None:
        assert not exchange.is_alone
        served_at.append(exchange)

    async def work(start: Callable[..., FakeExchange]) -> None:
        exchanges = [start() for _ in range(3)]
        exchanges[1].is_gone = True
        assert not served_at
        for _ in range(3):
            await asyncio.sleep(0)
        assert served_at == [exchanges[0], exchanges[2]]
        assert all(exchange.is_served for exchange in exchanges)

    with_tasks(application, work, connections=["one"])


async def answer_at_once(exchange: FakeExchange) -> None:
    """An application that ends without waiting."""
    assert served() is exchange
    exchange.was_alone.append(exchange.is_alone)
    exchange.has_begun = True


def test_a_request_that_is_alone_is_served_within_the_call() -> None:
    """It has no task, and `is_alone` is true."""

    async def work(start: Callable[..., FakeExchange]) -> None:
        exchange = start()
        assert exchange.is_served
        assert exchange.was_alone == [True]
        assert exchange.task is None
        assert served() is None

    with_tasks(answer_at_once, work)


@pytest.mark.parametrize(
    ("client", "is_only", "after_s", "is_alone"),
    [
        ("the same", True, 0.0, True),
        ("another", True, 0.001, False),
        ("another", True, 0.003, True),
        ("the same", False, 0.003, False),
    ],
)
def test_a_request_is_alone_on_the_last_used_or_a_quiet_server(
    client: str,
    is_only: bool,
    after_s: float,
    is_alone: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If its connection has no other request, and sent the last two, or after two quiet milliseconds."""

    async def work(start: Callable[..., FakeExchange]) -> None:
        monkeypatch.setattr(time, "monotonic", lambda: 1.0)
        start("the same")
        start("the same")
        monkeypatch.setattr(time, "monotonic", lambda: 1.0 + after_s)
        exchange = start(client, is_only=is_only)
        assert exchange.is_served == is_alone
        await asyncio.sleep(0)
        assert exchange.is_served
        assert exchange.was_alone == [is_alone]

    with_tasks(answer_at_once, work)


def test_a_request_of_the_only_connection_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a client that opens a connection for each request."""

    async def work(start: Callable[..., FakeExchange]) -> None:
        monkeypatch.setattr(time, "monotonic", lambda: 1.0)
        assert start("first").is_served
        assert start("second").is_served

    with_tasks(answer_at_once, work, connections=["one"])


def test_one_earlier_request_of_the_connection_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection that sent the last request of many may be the first to send the next one."""

    async def work(start: Callable[..., FakeExchange]) -> None:
        monkeypatch.setattr(time, "monotonic", lambda: 1.0)
        for client in ("first", "second"):
            start(client)
        assert not start("second").is_served

    with_tasks(answer_at_once, work)


def test_a_request_that_waits_continues_in_a_task() -> None:
    """With its context, and the results and errors of what it waits for."""
    waits: list[asyncio.Future[int]] = []

    async def application(exchange: FakeExchange) -> None:
        loop = asyncio.get_running_loop()
        waits.extend(loop.create_future() for _ in range(2))
        exchange.has_begun = True
        assert await waits[0] == 1
        with pytest.raises(ValueError, match="two"):
            await waits[1]
        assert served() is exchange
        assert asyncio.current_task() is exchange.task

    async def work(start: Callable[..., FakeExchange]) -> None:
        exchange = start()
        assert exchange.has_begun
        task = exchange.task
        assert task is not None
        waits[0].set_result(1)
        await asyncio.sleep(0)
        waits[1].set_exception(ValueError("two"))
        await task
        assert exchange.is_served

    with_tasks(application, work)


def test_a_request_is_alone_until_another_begins() -> None:
    """A request whose body has not arrived completely begins in the next iteration, and may still be alone then."""

    async def work(start: Callable[..., FakeExchange]) -> None:
        first = start(has_all=False)
        assert not first.has_begun
        await asyncio.sleep(0)
        assert first.was_alone == [True]

        second = start(has_all=False)
        third = start(is_only=False)
        await asyncio.sleep(0)
        assert second.was_alone == third.was_alone == [False]

    with_tasks(answer_at_once, work)


@pytest.mark.parametrize("has_run", [False, True])
def test_a_begun_request_can_be_cancelled(has_run: bool) -> None:
    """Before and after the first step of its task; its own cleanup is awaited."""
    ends: list[asyncio.Future[None]] = []

    async def application(_exchange: FakeExchange) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ends.append(asyncio.get_running_loop().create_future())
            await ends[0]

    async def work(start: Callable[..., FakeExchange]) -> None:
        exchange = start()
        task = exchange.task
        assert task is not None
        if has_run:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not exchange.is_served
        ends[0].set_result(None)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert exchange.is_served

    with_tasks(application, work)


def test_a_request_that_is_cancelled_before_it_begins_is_ended() -> None:
    """A task that begins in the next iteration, when earlier work is cancelled, ends its exchange all the same."""

    async def wait_forever(_exchange: FakeExchange) -> None:
        await asyncio.Event().wait()

    async def run() -> None:
        application, running = cast("Application", wait_forever), RunningRequests()
        tasks = RequestTasks(asyncio.get_running_loop(), application, ("one", "two"), running)
        earlier = asyncio.create_task(asyncio.Event().wait())
        await asyncio.sleep(0)
        tasks.cancel(earlier)
        exchange = FakeExchange(has_all=False)
        tasks.start(cast("Exchange", exchange), is_only=False)
        task = exchange.task
        assert task is not None
        tasks.cancel(task)
        await asyncio.wait([earlier, task])

        assert task.cancelled()
        assert exchange.is_served
        assert running.running == 0

    asyncio.run(run())


def test_a_failing_application_ends_the_exchange(caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged."""

    async def application(_exchange: FakeExchange) -> None:
        raise RuntimeError("a bug")

    async def work(start: Callable[..., FakeExchange]) -> None:
        assert start().is_served

    with_tasks(application, work)
    assert "a bug" in caplog.text


def test_a_cancelled_request_is_freed_at_once() -> None:
    """Its body may be large, and the garbage collector runs rarely."""
    bodies: list[weakref.ref[set[int]]] = []

    async def wait(_exchange: FakeExchange) -> None:
        body = {1}
        bodies.append(weakref.ref(body))
        await asyncio.sleep(600)

    async def work(start: Callable[..., FakeExchange]) -> None:
        exchange = start()
        assert exchange.task is not None
        exchange.task.cancel()
        while not exchange.is_served:  # noqa: ASYNC110 - the exchange has no event for it
            await asyncio.sleep(0)
        del exchange
        for _ in range(5):  # the loop refers to the task until it is done
            await asyncio.sleep(0)
        assert [body() for body in bodies] == [None]

    gc.disable()
    try:
        with_tasks(wait, work)
    finally:
        gc.enable()
