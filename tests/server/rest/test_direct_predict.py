"""A predict body that is alone is answered at once by a quick model, without a queued run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_recorder import FakeRecorder

from tfsctl.core import dtypes, protos
from tfsctl.core.dtypes import DType
from tfsctl.server.execution.servable import DirectRun, Servable
from tfsctl.server.http.exchange import Exchange
from tfsctl.server.rest.api import RestApi
from tfsctl.server.rest.response import RestResponse
from tfsctl.server.runtime.capi import Output
from tfsctl.server.runtime.session import Arrays, BoundSignature, Endpoint, Feeds
from tfsctl.server.service.model_service import Service
from tfsctl.server.status import Code, ServingError

SMALL, LARGE = [np.array([[1.5, 2.0]], np.float32)], [np.zeros((1, 5000), np.float32)]
Values = tuple[int, tuple[int, ...], bytes]  # number of a dtype, shape, memory


class FakeSession:
    """A model with the input `x` and the output `y`, whose runs are recorded."""

    def __init__(self, dtype: DType, *, rank: int, has_floats: bool) -> None:
        x, y = Endpoint("x", "x:0", dtype, Output()), Endpoint("y", "y:0", dtypes.FLOAT, Output())
        bound = {"serving_default": BoundSignature({"x": x}, {"y": y}, {"x": dtype}, (y,), {"x": rank})}
        self.bound, self.signature, self.signature_defs = bound, bound.get, dict.fromkeys(bound, protos.SignatureDef())
        self._has_floats = has_floats
        self.outputs: Arrays = SMALL
        self.ran: list[Arrays] = []
        self.ran_values: list[Values] = []

    def are_floats(self, _fetches: Sequence[Endpoint]) -> bool:
        """Whether the output is float32."""
        return self._has_floats

    def run(self, feeds: Feeds, _fetches: Sequence[Endpoint], *, inline: bool) -> Arrays:
        """A run with arrays."""
        assert inline
        self.ran.append([array for _, array in feeds])
        return self.outputs

    def run_values(
        self, _feed: Endpoint, number: int, shape: tuple[int, ...], values: bytes, _fetches: Sequence[Endpoint]
    ) -> list[tuple[tuple[int, ...], bytes]]:
        """A run without arrays."""
        self.ran_values.append((number, shape, values))
        return [(array.shape, array.tobytes()) for array in self.outputs]


class FakeQueue:
    """Runs requests at once, or keeps those that are submitted."""

    accepts_codecs = True

    def __init__(self, session: FakeSession) -> None:
        self._session = session
        self.answers_at_once = True
        self.error: ServingError | None = None
        self.asked: list[int] = []
        self.runs: list[DirectRun] = []

    def answer_at_once(self, codec: Any, payload: object, nbytes: int) -> object:
        """The outputs, or an error; None if it does not answer at once."""
        self.asked.append(nbytes)
        if not self.answers_at_once:
            return None
        return self.error or codec.answer_alone(self._session, payload)

    def submit(self, run: DirectRun) -> None:
        """Keep a run."""
        self.runs.append(run)

    def cancel(self, _run: DirectRun) -> None:
        """No run waits."""


class Harness:
    """A RestApi for one model, and the responses that were sent."""

    def __init__(self, dtype: DType = dtypes.FLOAT, *, rank: int = 2, has_floats: bool = True) -> None:
        self.recorder = FakeRecorder()
        self.responses: list[RestResponse | None] = []
        self.session = FakeSession(dtype, rank=rank, has_floats=has_floats)
        self.queue = FakeQueue(self.session)
        session: Any = self.session
        queue: Any = self.queue
        self.servable = Servable("m", 7, session, (), queue)
        core: Any = SimpleNamespace(servable=lambda _ref: self.servable)
        self.api = RestApi(Service(core, recorder=self.recorder), timeout_s=30.0, recorder=self.recorder)

    def begin(self, *instances: object, is_alone: bool = True) -> Any:
        """Serve a body without a task. Returns its exchange."""
        body = json.dumps({"instances": instances}).encode()
        exchange: Any = SimpleNamespace(
            method="POST",
            target="/v1/models/m:predict",
            headers={},
            client="c",
            is_alone=is_alone,
            is_gone=False,
            task=None,
            arrived_body=lambda limit: body if len(body) <= limit else None,
        )
        assert self.api.begin(exchange, self._send)
        return exchange

    @property
    def answers(self) -> list[Any]:
        """The status and the document of each response."""
        return [response and (response.status, json.loads(response.body)) for response in self.responses]

    def _send(self, _exchange: Exchange, response: RestResponse | None) -> None:
        self.responses.append(response)


def test_a_body_that_is_alone_is_answered_at_once() -> None:
    """Nothing is submitted. What is recorded is that of any other request."""
    harness = Harness()
    for _ in range(2):  # the second is a row of numbers to the first one's codec
        harness.begin([0.5, 1.0])
    assert harness.answers == [(200, {"predictions": [[1.5, 2.0]]})] * 2
    assert harness.queue.runs == []
    assert harness.queue.asked == [len('{"instances": [[0.5, 1.0]]}')] * 2
    assert harness.recorder.events == [("inference", "m", "Predict"), ("succeeded", "m", "predict", "REST")] * 2


@pytest.mark.parametrize("is_alone", [True, False])
def test_other_bodies_are_submitted(*, is_alone: bool) -> None:
    """If the model is not known to be quick, or if other requests are around."""
    harness = Harness()
    harness.queue.answers_at_once = False
    harness.begin([0.5, 1.0], is_alone=is_alone)
    (run,) = harness.queue.runs
    assert harness.responses == []
    assert len(harness.queue.asked) == is_alone
    run.settle(b'"done"')
    assert harness.answers == [(200, "done")]


def test_an_error_is_sent_at_once() -> None:
    harness = Harness()
    harness.queue.error = ServingError(Code.INVALID_ARGUMENT, "bad")
    harness.begin([0.5])
    assert harness.answers == [(400, {"error": "bad"})]
    assert harness.queue.runs == []


def test_an_output_without_rows_is_an_error() -> None:
    harness = Harness()
    harness.session.outputs = [np.array(1.0, np.float32)]
    harness.begin([0.5])
    assert harness.answers == [(400, {"error": "Tensor name: y has no shape information "})]


@pytest.mark.parametrize("leaves", [False, True])
def test_large_outputs_are_written_in_a_thread(*, leaves: bool) -> None:
    """The version is not unloaded meanwhile. The graph does not run again. A client that leaves gets no answer."""

    async def work() -> None:
        harness = Harness()
        harness.session.outputs = LARGE
        exchange = harness.begin([0.5, 1.0])
        assert harness.responses == []
        drained = asyncio.ensure_future(harness.servable.drain())
        await asyncio.sleep(0)
        assert not drained.done()
        if leaves:
            exchange.is_gone, exchange.end_service = True, lambda: None
            exchange.task.cancel()
        await drained
        assert harness.answers == ([] if leaves else [(200, {"predictions": [[0.0] * 5000]})])
        assert (harness.queue.runs, len(harness.session.ran) + len(harness.session.ran_values)) == ([], 1)

    asyncio.run(work())


def in_bytes(*values: float) -> bytes:
    """The memory of float32 values."""
    return np.array(values, np.float32).tobytes()


@pytest.mark.parametrize(
    ("make", "row", "expected"),
    [
        (lambda: Harness(dtypes.STRING, rank=1), "é", (dtypes.STRING.number, (1,), "é".encode())),
        (lambda: Harness(dtypes.STRING, rank=1), "", (dtypes.STRING.number, (1,), b"")),
        (Harness, [0.5, 1e300], (dtypes.FLOAT.number, (1, 2), in_bytes(0.5, np.inf))),
    ],
    ids=["text", "empty text", "numbers"],
)
def test_one_row_needs_no_arrays(make: Callable[[], Harness], row: object, expected: Values) -> None:
    """If it is one text or a row of numbers, and the outputs are floats."""
    harness = make()
    for _ in range(2):
        harness.begin(row)
    assert harness.session.ran_values[-1] == expected
    assert [answer[0] for answer in harness.answers] == [200, 200]


@pytest.mark.parametrize(
    ("make", "rows", "expected"),
    [
        (lambda: Harness(dtypes.STRING, rank=1, has_floats=False), ["a"], np.array([b"a"], object)),
        (lambda: Harness(dtypes.STRING, rank=2), [["a"]], np.array([[b"a"]], object)),
        (lambda: Harness(dtypes.STRING, rank=1), ["a", "b"], np.array([b"a", b"b"], object)),
        (lambda: Harness(has_floats=False), [[0.5]], np.array([[0.5]], np.float32)),
        (Harness, [[0.5], [1.0]], np.array([[0.5], [1.0]], np.float32)),
    ],
    ids=["other outputs", "nested", "two texts", "numbers, other outputs", "two rows of numbers"],
)
def test_other_rows_are_arrays(make: Callable[[], Harness], rows: list[object], expected: np.ndarray) -> None:
    """Of the shape that the graph takes."""
    harness = make()
    for _ in range(2):
        harness.begin(*rows)
    assert harness.session.ran_values == []
    (array,) = harness.session.ran[-1]
    assert (array.dtype, array.tolist()) == (expected.dtype, expected.tolist())
    assert [answer[0] for answer in harness.answers] == [200, 200]


def test_rows_that_cannot_be_converted_at_once_are_submitted() -> None:
    """A base64 value is a text, which is converted alone."""
    harness = Harness(dtypes.STRING, rank=1)
    harness.begin({"b64": "YQ=="})
    (run,) = harness.queue.runs
    run.settle(None)
    assert harness.responses == [None]
