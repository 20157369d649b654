"""Threads that work on large bodies let the event loop run after each piece."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
import pytest
from waiting import PATIENCE_S, wait_for

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.arrays import object_array
from tfsctl.server.grpc.large_predict_request import read_large_request
from tfsctl.server.grpc.parse_in_pieces import parse_request
from tfsctl.server.grpc.predict_response import predict_response
from tfsctl.server.gzip_bodies import decompress
from tfsctl.server.process import loop_yield
from tfsctl.server.process.loop_yield import yield_to_loop
from tfsctl.server.rest.json import answer as json_answer
from tfsctl.server.rest.json import numbers as json_numbers
from tfsctl.server.rest.json import pieces as json_pieces

LIMIT = 1 << 30
COUNT = 100_000


class FakeLoop:
    """Keeps callbacks, or calls them at once."""

    def __init__(self, *, is_busy: bool) -> None:
        self.is_busy = is_busy
        self.callbacks: list[Callable[[], object]] = []

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        """Keep a callback. Unless the loop is busy, call it."""
        self.callbacks.append(callback)
        if not self.is_busy:
            callback()


@pytest.fixture
def another_thread() -> Iterator[ThreadPoolExecutor]:
    """A thread that is not the loop's."""
    with ThreadPoolExecutor(1) as threads:
        yield threads


def serve(monkeypatch: pytest.MonkeyPatch, loop: Any) -> None:
    """Make this thread the one of the loop, which others wait for whatever work they have done."""
    monkeypatch.setattr(loop_yield, "_MIN_WORK_S", 0.0)
    monkeypatch.setattr(loop_yield._Served, "loop", None)
    monkeypatch.setattr(loop_yield._Served, "thread", 0)
    loop_yield.serve(loop)


def test_a_thread_waits_until_the_loop_has_run(
    monkeypatch: pytest.MonkeyPatch, another_thread: ThreadPoolExecutor
) -> None:
    """It continues once its callback was called."""
    loop = FakeLoop(is_busy=True)
    serve(monkeypatch, loop)
    monkeypatch.setattr(loop_yield, "_MAX_WAIT_S", PATIENCE_S)
    waiting = another_thread.submit(yield_to_loop)
    wait_for(lambda: bool(loop.callbacks))
    assert not waiting.done()
    loop.callbacks[0]()
    waiting.result(PATIENCE_S)


def test_a_thread_does_not_wait_long_for_a_loop_that_is_busy(
    monkeypatch: pytest.MonkeyPatch, another_thread: ThreadPoolExecutor
) -> None:
    """The loop may run a model itself meanwhile."""
    serve(monkeypatch, FakeLoop(is_busy=True))
    another_thread.submit(yield_to_loop).result(PATIENCE_S)


def test_who_does_not_wait(monkeypatch: pytest.MonkeyPatch, another_thread: ThreadPoolExecutor) -> None:
    """The thread of the loop, a thread that has done little, and every thread if the loop is closed."""
    loop = FakeLoop(is_busy=True)
    serve(monkeypatch, loop)
    yield_to_loop()
    monkeypatch.setattr(loop_yield, "_MIN_WORK_S", PATIENCE_S)
    another_thread.submit(yield_to_loop).result(PATIENCE_S)
    assert not loop.callbacks

    closed = asyncio.new_event_loop()
    closed.close()
    serve(monkeypatch, closed)
    another_thread.submit(yield_to_loop).result(PATIENCE_S)


def _float_body() -> bytes:
    return orjson.dumps({"instances": [0.123456789] * 500_000})


def _classification() -> protos.ClassificationRequest:
    request = protos.ClassificationRequest()
    example = protos.Example()
    example.features.feature["x"].float_list.value.extend([1.5] * 20)
    request.input.example_list.examples.extend([example] * 5000)
    return request


def _predict_message(array: np.ndarray) -> memoryview:
    request = protos.PredictRequest(model_spec={"name": "m"})
    tensors.fill_proto(request.inputs["x"], array, as_content=False)
    return memoryview(request.SerializeToString())


TEXTS = object_array([b"some text"] * COUNT)
WORK: dict[str, Callable[[], object]] = {
    "read REST numbers": lambda: json_numbers.number_inputs(_float_body(), lambda _: {"x": dtypes.FLOAT}),
    "read REST strings": lambda: json_pieces.large_inputs(
        orjson.dumps({"instances": ["some text"] * COUNT}), lambda _: {"x": dtypes.STRING}
    ),
    "write REST numbers": lambda: json_answer.answer({"x": np.zeros(COUNT)}, row_form=True),
    "write REST rows": lambda: json_answer.answer({"x": np.zeros(COUNT), "y": TEXTS}, row_form=True),
    "read gRPC strings": lambda: read_large_request(_predict_message(TEXTS)),
    "read gRPC integers": lambda: read_large_request(_predict_message(np.full(10 * COUNT, 2**40))),
    "read gRPC examples": lambda: parse_request(
        protos.ClassificationRequest(), memoryview(_classification().SerializeToString())
    ),
    "write gRPC strings": lambda: predict_response("m", 1, "s", {"x": TEXTS}, as_content=False),
    "write gRPC integers": lambda: predict_response("m", 1, "s", {"x": np.full(10 * COUNT, 2**40)}, as_content=False),
    "decompress": lambda: decompress(memoryview(gzip.compress(bytes(2**23), 1)), zlib.MAX_WBITS | 16, LIMIT),
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_work_on_large_bodies_waits_after_each_piece(
    monkeypatch: pytest.MonkeyPatch, another_thread: ThreadPoolExecutor, work: Callable[[], object]
) -> None:
    """Whatever is read or written: it is not done in a few large pieces."""
    loop = FakeLoop(is_busy=False)
    serve(monkeypatch, loop)
    assert another_thread.submit(work).result(PATIENCE_S) is not None
    assert len(loop.callbacks) >= 10
