"""Calls of Predict, Classify and Regress without a task: which calls have none, and how each of them ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from fake_recorder import FakeRecorder

from tfsctl.core import dtypes, protos, tensors
from tfsctl.server.execution.pending_run import PendingRun, encode_answers
from tfsctl.server.execution.servable import DirectRun, Servable
from tfsctl.server.execution.stacked_run import Stack
from tfsctl.server.grpc import framing
from tfsctl.server.grpc.direct_calls import CLASSIFY_PATH, PREDICT_PATH, REGRESS_PATH, DirectCalls
from tfsctl.server.grpc.predict_request_cache import PredictRequestCache
from tfsctl.server.grpc.predict_response import predict_response
from tfsctl.server.http.exchange import Exchange, Pairs
from tfsctl.server.memory_budget import MemoryBudget
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
        self.answer: object = None
        """Of requests that are answered at once; None if they have to be submitted."""

    def answer_at_once(self, _codec: object, _values: bytes, _nbytes: int) -> object:
        """The answer."""
        return self.answer

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

    def __init__(self, tasks: FakeTasks, body: bytes, headers: Mapping[bytes, bytes], path: str = PREDICT_PATH) -> None:
        super().__init__(asyncio.get_running_loop(), MemoryBudget(2**30), object(), 8500, "POST", path, headers)
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
    """A DirectCalls for one model, and the ends of its calls.

    The model has a float input, and the signatures `classify` and `regress`.
    """

    def __init__(self) -> None:
        self.recorder = FakeRecorder()
        self.queue, self.tasks = FakeQueue(), FakeTasks()
        self.ended = self.tasks.ended
        self.are_floats = False
        bound = {
            "serving_default": signature(["x"], ["y"]),
            "classify": signature(["inputs"], ["classes", "scores"]),
            "regress": signature(["inputs"], ["outputs"]),
        }
        session: Any = SimpleNamespace(
            bound=bound,
            signature=bound.get,
            signature_defs=dict.fromkeys(bound, protos.SignatureDef()),
            are_floats=lambda _fetches: self.are_floats,
        )
        self.servable = Servable("m", 7, session, (), cast("Any", self.queue))
        core: Any = SimpleNamespace(servable=self.find)
        self.direct = DirectCalls(
            Service(core),
            PredictRequestCache(),
            WorkerThreads("test"),
            as_content=False,
            recorder=self.recorder,
            request_logs=RequestLogs(),
        )

    def find(self, model: Any) -> Servable:
        """The servable, if the request names it."""
        if model.name != "m":
            raise ServingError(Code.NOT_FOUND, "no such model")
        return self.servable

    def call(
        self, body: bytes, headers: Mapping[bytes, bytes] | None = None, path: str = PREDICT_PATH
    ) -> FakeExchange | None:
        """Start a call; None if it needs a task."""
        exchange = FakeExchange(self.tasks, body, headers or {}, path)
        return exchange if self.direct.begin(exchange) else None

    def infer(self, path: str, values: Sequence[float]) -> tuple[FakeExchange, DirectRun]:
        """Start a call of Classify or Regress with an example for each value, and the run that it submitted."""
        exchange = self.call(examples_request(path, values), path=path)
        assert exchange is not None
        return exchange, self.queue.runs[-1]

    def begin(self, output_filter: Sequence[str] = ()) -> tuple[FakeExchange, DirectRun]:
        """Start a call that needs no task, and the run that it submitted. Calls with a filter are not cached."""
        exchange = self.call(predict(output_filter=output_filter))
        assert exchange is not None
        return exchange, self.queue.runs[-1]

    async def drained(self) -> None:
        """Return when no call is in flight any more, as unloading the version waits for."""
        await self.servable.drain()


def signature(inputs: Sequence[str], outputs: Sequence[str]) -> BoundSignature:
    """A signature with these names."""
    ends = [{name: Endpoint(name, name, dtypes.FLOAT, Output()) for name in names} for names in (inputs, outputs)]
    return BoundSignature(ends[0], ends[1], {}, tuple(ends[1].values()), {})


def example(value: float) -> Any:
    """A tf.Example with one value."""
    message = protos.Example()
    message.features.feature["x"].float_list.value.append(value)
    return message


def examples_request(
    path: str, values: Sequence[float], model: str = "m", signature_name: str = "", *, has_context: bool = False
) -> bytes:
    """A framed request of Classify or Regress (default of the signature: that of its method)."""
    message: Any = protos.ClassificationRequest() if path == CLASSIFY_PATH else protos.RegressionRequest()
    message.model_spec.name = model
    message.model_spec.signature_name = signature_name or ("classify" if path == CLASSIFY_PATH else "regress")
    if has_context:
        message.input.example_list_with_context.context.CopyFrom(example(0.0))
        message.input.example_list_with_context.examples.extend(map(example, values))
    else:
        message.input.example_list.examples.extend(map(example, values))
    return framing.frame(message.SerializeToString())


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
        assert (pending.codec is not None) == (are_floats or not is_alone)

    run(work)


@pytest.mark.parametrize("outputs", [OUTPUT, LARGE, ServingError(Code.INVALID_ARGUMENT, "bad")])
def test_a_request_that_is_alone_may_be_answered_at_once(outputs: list[np.ndarray] | ServingError) -> None:
    """With a response, with large outputs that a thread writes, or with an error. Nothing is submitted."""

    async def work(harness: Harness) -> None:
        harness.are_floats = True
        is_error, body, status = isinstance(outputs, ServingError), b"", {b"grpc-status": b"3", b"grpc-message": b"bad"}
        if not isinstance(outputs, ServingError):
            status = {b"grpc-status": b"0"}
            body = predict_response("m", 7, "serving_default", {"y": outputs[0]}, as_content=False)
        harness.queue.answer = body if outputs is OUTPUT else outputs
        exchange = FakeExchange(harness.tasks, predict(), {})
        exchange.is_alone = True
        assert harness.direct.begin(exchange)
        if exchange.task is not None:
            await cast("asyncio.Task[None]", exchange.task)
        ((found, trailers, is_at_once),) = exchange.replies
        assert (found, dict(trailers)) == (body, status)
        assert is_at_once == (outputs is OUTPUT)
        assert harness.queue.runs == []
        last = ("failed", "m", Code.INVALID_ARGUMENT) if is_error else ("succeeded", "m", "Predict", "GRPC")
        assert harness.recorder.events[-1] == last

    run(work)


@pytest.mark.parametrize(
    ("timeout", "is_at_once"), [({}, True), ({b"grpc-timeout": b"1H"}, True), ({b"grpc-timeout": b"0n"}, False)]
)
def test_a_request_whose_deadline_has_passed_is_not_answered_at_once(
    timeout: Mapping[bytes, bytes], *, is_at_once: bool
) -> None:
    """It is submitted, and gets its error there."""

    async def work(harness: Harness) -> None:
        harness.are_floats = True
        harness.queue.answer = b"response"
        exchange = FakeExchange(harness.tasks, predict(), timeout)
        exchange.is_alone = True
        assert harness.direct.begin(exchange)
        assert bool(exchange.replies) == is_at_once
        assert bool(harness.queue.runs) != is_at_once

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


def response_to_classify(rows: Sequence[Mapping[str, float]]) -> bytes:
    """The framed response with these scores of labels for each example."""
    response = protos.ClassificationResponse(model_spec={"name": "m", "signature_name": "classify"})
    response.model_spec.version.value = 7
    for row in rows:
        added = response.result.classifications.add()
        for label, score in row.items():
            added.classes.add(label=label, score=score)
    return framing.frame(response.SerializeToString())


def response_to_regress(values: Sequence[float]) -> bytes:
    """The framed response with these values."""
    response = protos.RegressionResponse(model_spec={"name": "m", "signature_name": "regress"})
    response.model_spec.version.value = 7
    for value in values:
        response.result.regressions.add(value=value)
    return framing.frame(response.SerializeToString())


def settle_together(pending: Sequence[DirectRun], outputs: Sequence[np.ndarray]) -> None:
    """Give requests that ran together what their codec makes of the outputs."""
    codec = pending[0].codec
    assert codec is not None
    assert {one.codec for one in pending} == {codec}
    encode_answers(pending, codec, Stack(len(pending), arrays=list(outputs)))


@pytest.mark.parametrize("examples", [1, 3])
def test_small_calls_of_classify_run_together(examples: int) -> None:
    """As parallel calls. Each gets its own results, and all are recorded as they are with a task."""

    async def work(harness: Harness) -> None:
        calls = [harness.infer(CLASSIFY_PATH, [call + 0.5] * examples) for call in range(2)]
        pending = [run for _, run in calls]
        assert pending[0].merge_key is None
        decoded = pending[0].codec.decode([run.payload for run in pending])  # type: ignore[union-attr]
        assert decoded is not None
        expected = [[example(call + 0.5).SerializeToString()] * examples for call in range(2)]
        assert decoded[0].tolist() == expected
        labels = np.array([b"a", b""], object)
        scores = np.arange(4 * examples, dtype=np.float32).reshape(2, examples, 2)
        settle_together(pending, [np.broadcast_to(labels, (2, examples, 2)), scores])
        for (exchange, _), values in zip(calls, scores.tolist(), strict=True):
            body = response_to_classify([{"a": first, "": second} for first, second in values])
            assert exchange.replies == [(body, ((b"grpc-status", b"0"),), True)]
        recorded = [("inference", "m", "Classify"), ("examples", "m", examples), ("succeeded", "m", "Classify", "GRPC")]
        assert harness.recorder.events == 2 * recorded
        await harness.drained()

    run(work)


@pytest.mark.parametrize("rank", [1, 2])
def test_a_small_call_of_regress_has_no_task(rank: int) -> None:
    async def work(harness: Harness) -> None:
        exchange, pending = harness.infer(REGRESS_PATH, [1.0, 2.0])
        settle_together([pending], [np.array([3.5, 0.0], np.float32).reshape(1, 2, *[1] * (rank - 1))])
        assert exchange.replies == [(response_to_regress([3.5, 0.0]), ((b"grpc-status", b"0"),), True)]
        recorded = [("inference", "m", "Regress"), ("examples", "m", 2), ("succeeded", "m", "Regress", "GRPC")]
        assert harness.recorder.events == recorded
        await harness.drained()

    run(work)


def test_outputs_that_do_not_fit_are_errors() -> None:
    """In TensorFlow Serving's words, for each request alone."""

    async def work(harness: Harness) -> None:
        calls = [harness.infer(REGRESS_PATH, [1.0]) for _ in range(2)]
        settle_together([run for _, run in calls], [np.zeros((2, 3), np.float32)])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        message = b"Input batch size did not match output batch size: 1 vs. 3"
        for exchange, _ in calls:
            ((body, trailers, _),) = exchange.replies
            assert (body, dict(trailers)) == (b"", {b"grpc-status": b"3", b"grpc-message": message})
        assert harness.recorder.events == [("failed", "m", Code.INVALID_ARGUMENT)] * 2
        await harness.drained()

    run(work)


def test_a_call_of_classify_whose_client_leaves_is_forgotten() -> None:
    """Nothing is recorded for it."""

    async def work(harness: Harness) -> None:
        exchange, pending = harness.infer(CLASSIFY_PATH, [1.0])
        assert exchange.task is pending
        exchange.cancel()
        pending.cancel()
        assert harness.queue.cancelled == [pending]
        assert (exchange.replies, harness.recorder.events) == ([], [])
        await harness.drained()

    run(work)


@pytest.mark.parametrize("path", [CLASSIFY_PATH, REGRESS_PATH])
@pytest.mark.parametrize(
    "request_of",
    [
        lambda path: examples_request(path, []),
        lambda path: examples_request(path, [1.0] * 65),
        lambda path: examples_request(path, [1.0], has_context=True),
        lambda path: examples_request(path, [1.0], model="other"),
        lambda path: examples_request(path, [1.0], model=""),
        lambda path: examples_request(path, [1.0], signature_name="none"),
        lambda path: examples_request(path, [1.0], signature_name="serving_default"),
        lambda path: examples_request(path, [1.0])[:-1],
        lambda _path: framing.frame(b"\xff"),
        lambda path: b"\1" + examples_request(path, [1.0])[1:],
    ],
    ids=[
        *("no examples", "many examples", "a context", "unknown model", "no model", "unknown signature"),
        *("signature of predict", "half a message", "no protobuf", "compressed"),
    ],
)
def test_other_calls_with_examples_need_a_task(path: str, request_of: Callable[[str], bytes]) -> None:
    """Nothing is submitted for them, also if the queue takes no codecs."""

    async def work(harness: Harness) -> None:
        assert harness.call(request_of(path), path=path) is None
        harness.servable.accepts_codecs = False
        assert harness.call(examples_request(path, [1.0]), path=path) is None
        assert harness.queue.runs == []
        await harness.drained()

    run(work)
