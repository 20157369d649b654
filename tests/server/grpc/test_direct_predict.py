"""Predict calls without a task: which calls have none, and how each of them ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tfsctl.core import dtypes, protos, tensors
from tfsctl.server.execution.pending_run import PendingRun
from tfsctl.server.execution.servable import DirectRun, Servable
from tfsctl.server.execution.stacked_run import Stack
from tfsctl.server.grpc import framing
from tfsctl.server.grpc.direct_predict import DirectPredict
from tfsctl.server.grpc.predict_request_cache import PredictRequestCache
from tfsctl.server.grpc.predict_response import predict_response
from tfsctl.server.http.exchange import Exchange, Pairs
from tfsctl.server.memory_budget import MemoryBudget
from tfsctl.server.monitoring.recorder import NullRecorder
from tfsctl.server.request_log.request_logs import RequestLogs
from tfsctl.server.runtime.capi import Output
from tfsctl.server.runtime.session import BoundSignature, Endpoint
from tfsctl.server.service.model_service import Service
from tfsctl.server.status import Code, ServingError
from tfsctl.server.worker_threads import WorkerThreads

OUTPUT = [np.array([[2.5]], np.float32)]
LARGE = [np.zeros((1, 100_000), np.float32)]


class FakeQueue:
    """Keeps the requests that are submitted."""

    accepts_codecs = True

    def __init__(self) -> None:
        self.runs: list[DirectRun] = []
        self.cancelled: list[PendingRun] = []
        self.error: Exception | None = None

    def submit(self, run: DirectRun) -> None:
        """Keep a request that waits, or refuse it."""
        if self.error is not None:
            raise self.error
        run.is_waiting = True
        self.runs.append(run)

    def cancel(self, run: PendingRun) -> None:
        """Record that nobody waits for a request any more."""
        run.is_waiting = False
        self.cancelled.append(run)


class FakeTasks:
    """Serves exchanges by tasks, and keeps those that have ended."""

    def __init__(self) -> None:
        self.ended: list[Exchange] = []

    def spawn(self, exchange: Exchange, serving: Awaitable[None]) -> None:
        """Serve an exchange by a task."""

        async def serve() -> None:
            await serving
            self.end(exchange)

        exchange.task = asyncio.ensure_future(serve())

    def end(self, exchange: Exchange) -> None:
        """Record the end."""
        exchange.task = None
        self.ended.append(exchange)


class FakeExchange(Exchange):
    """A POST whose body has arrived, and its response."""

    def __init__(self, tasks: FakeTasks, body: bytes, headers: Mapping[bytes, bytes]) -> None:
        super().__init__(asyncio.get_running_loop(), MemoryBudget(2**30), object(), 8500, "POST", "/Predict", headers)
        self.add(body)
        self.end()
        self._fake_tasks = tasks
        self.takes_at_once = True
        self.replies: list[tuple[bytes, Pairs, bool]] = []
        """Each with whether it was sent at once."""

    @property
    def _tasks(self) -> FakeTasks:
        return self._fake_tasks

    def respond(self, status: int, headers: Pairs, body: bytes, trailers: Pairs = ()) -> None:
        """Keep the response, if the client takes it now."""
        if body and self.takes_at_once:
            self.replies.append((body, trailers, True))
            self.end_service()
        else:
            super().respond(status, headers, body, trailers)

    async def reply(self, _status: int, _headers: Pairs, body: bytes, trailers: Pairs = ()) -> None:
        """Keep the response."""
        self.replies.append((body, trailers, False))

    def start(self, status: int, headers: Pairs) -> None:
        """Not used."""

    async def write(self, data: bytes) -> None:
        """Not used."""

    async def finish(self, trailers: Pairs) -> None:
        """Not used."""


class Harness:
    """A DirectPredict for one model with one float input, and the ends of its calls."""

    def __init__(self) -> None:
        self.queue, self.tasks = FakeQueue(), FakeTasks()
        self.ended = self.tasks.ended
        self.are_floats = False
        inputs, outputs = ({alias: Endpoint(alias, alias, dtypes.FLOAT, Output())} for alias in "xy")
        bound = BoundSignature(inputs, outputs, {}, tuple(outputs.values()), {})
        session: Any = SimpleNamespace(
            bound={"serving_default": bound}, signature=lambda _name: bound, are_floats=lambda _fetches: self.are_floats
        )
        self.servable = Servable("m", 7, session, (), cast("Any", self.queue))
        core: Any = SimpleNamespace(servable=self.find)
        self.direct = DirectPredict(
            Service(core),
            PredictRequestCache(),
            WorkerThreads("test"),
            as_content=False,
            recorder=NullRecorder(),
            request_logs=RequestLogs(),
        )

    def find(self, model: Any) -> Servable:
        """The servable, if the request names it."""
        if model.name != "m":
            raise ServingError(Code.NOT_FOUND, "no such model")
        return self.servable

    def call(self, body: bytes, headers: Mapping[bytes, bytes] | None = None) -> FakeExchange | None:
        """Start a call; None if it needs a task."""
        exchange = FakeExchange(self.tasks, body, headers or {})
        return exchange if self.direct.begin(exchange) else None

    def begin(self, output_filter: Sequence[str] = ()) -> tuple[FakeExchange, DirectRun]:
        """Start a call that needs no task, and the run that it submitted. Calls with a filter are not cached."""
        exchange = self.call(predict(output_filter=output_filter))
        assert exchange is not None
        return exchange, self.queue.runs[-1]

    async def drained(self) -> None:
        """Return when no call is in flight any more, as unloading the version waits for."""
        await self.servable.drain()


def predict(
    model: str = "m", inputs: Mapping[str, np.ndarray] | None = None, output_filter: Sequence[str] = ()
) -> bytes:
    """A framed PredictRequest."""
    message = protos.PredictRequest(model_spec={"name": model}, output_filter=output_filter)
    for alias, array in (inputs or {"x": np.ones((1, 2), np.float32)}).items():
        tensors.fill_proto(message.inputs[alias], array, as_content=False)
    return framing.frame(message.SerializeToString())


def run(work: Callable[[Harness], Any]) -> None:
    """Run a test on an event loop."""

    async def main() -> None:
        await work(Harness())

    asyncio.run(main())


@pytest.mark.parametrize("is_cached", [False, True])
def test_a_small_call_is_answered_when_its_run_has_ended(*, is_cached: bool) -> None:
    """At that moment, whether its prefix can be cached or not."""

    async def work(harness: Harness) -> None:
        for _ in range(2):
            exchange, pending = harness.begin(() if is_cached else ("y",))
            codec = pending.codec
            assert (codec is not None) == is_cached
            pending.settle(OUTPUT if codec is None else codec.encode(Stack.of_requests([OUTPUT]))[0])  # type: ignore[index]
            body = predict_response("m", 7, "serving_default", {"y": OUTPUT[0]}, as_content=False)
            assert exchange.replies == [(body, ((b"grpc-status", b"0"),), True)]
            assert harness.ended[-1] is exchange
        await harness.drained()

    run(work)


def test_an_error_is_answered_with_its_status() -> None:
    """The words for a deadline are those that clients have when their own timer fires."""

    async def work(harness: Harness) -> None:
        exchange, pending = harness.begin()
        pending.settle(ServingError(Code.DEADLINE_EXCEEDED, "late"))
        harness.queue.error = ServingError(Code.RESOURCE_EXHAUSTED, "full")
        other = harness.call(predict())
        assert other is not None
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for one, code, message in ((exchange, 4, b"Deadline Exceeded"), (other, 8, b"full")):
            ((body, trailers, _),) = one.replies
            assert body == b""
            assert dict(trailers) == {b"grpc-status": b"%d" % code, b"grpc-message": message}
        assert harness.ended == [exchange, other]
        await harness.drained()

    run(work)


def test_a_call_whose_client_leaves_is_forgotten() -> None:
    """Its run no longer waits, and an outcome after that changes nothing."""

    async def work(harness: Harness) -> None:
        exchange, pending = harness.begin()
        assert exchange.task is pending
        exchange.cancel()
        pending.cancel()
        assert harness.queue.cancelled == [pending]
        pending.settle(OUTPUT)
        assert exchange.replies == []
        assert harness.ended == [exchange]
        await harness.drained()

    run(work)


@pytest.mark.parametrize(("is_alone", "are_floats"), [(True, True), (True, False), (False, True)])
def test_a_request_that_is_alone_needs_no_arrays(*, is_alone: bool, are_floats: bool) -> None:
    """If its outputs are floats. If they are not, its arrays are submitted."""

    async def work(harness: Harness) -> None:
        harness.are_floats = are_floats
        exchange = FakeExchange(harness.tasks, predict(), {})
        exchange.is_alone = is_alone
        assert harness.direct.begin(exchange)
        pending = harness.queue.runs[-1]
        assert pending.is_alone == is_alone
        assert (pending.answer_alone is not None) == are_floats
        assert (pending.codec is not None) == (are_floats or not is_alone)

    run(work)


@pytest.mark.parametrize("outputs", [OUTPUT, LARGE])
def test_a_response_that_cannot_be_sent_at_once_has_a_task(outputs: list[np.ndarray]) -> None:
    """A large one, which a thread writes, or one that the client does not take yet."""

    async def work(harness: Harness) -> None:
        exchange, pending = harness.begin(("y",))
        exchange.takes_at_once = False
        pending.settle(outputs)
        task = exchange.task
        assert isinstance(task, asyncio.Task)
        await task
        await asyncio.sleep(0)
        body = predict_response("m", 7, "serving_default", {"y": outputs[0]}, as_content=False)
        assert exchange.replies == [(body, ((b"grpc-status", b"0"),), False)]
        assert harness.ended == [exchange]

    run(work)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"\1" + predict()[1:], {}),
        (predict() + b"\0", {}),
        (predict()[:-1], {}),
        (framing.frame(b"\xff"), {}),
        (predict(inputs={"x": np.ones((1, 2000), np.float32)}), {}),
        (predict(inputs={f"x{index}": np.ones(1) for index in range(17)}), {}),
        (predict(inputs={"z": np.ones(1)}), {}),
        (predict("other"), {}),
        (predict(""), {}),
        (predict(), {framing.TIMEOUT: b"soon"}),
    ],
    ids=[
        *("compressed", "two messages", "half a message", "no protobuf", "large", "many inputs", "wrong input"),
        *("unknown model", "no model", "malformed timeout"),
    ],
)
def test_other_calls_need_a_task(body: bytes, headers: dict[bytes, bytes]) -> None:
    """Nothing is submitted for them."""

    async def work(harness: Harness) -> None:
        assert harness.call(body, headers) is None
        assert harness.queue.runs == []
        await harness.drained()

    run(work)
