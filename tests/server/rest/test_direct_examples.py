"""Small classify and regress bodies are served without a task; all others, and those with errors, have one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from fake_recorder import FakeRecorder

from tfsctl.core import dtypes, protos
from tfsctl.server.execution.servable import DirectRun, Servable
from tfsctl.server.execution.stacked_run import Stack
from tfsctl.server.http.exchange import Exchange
from tfsctl.server.rest.api import RestApi
from tfsctl.server.rest.json import example as json_example
from tfsctl.server.rest.response import RestResponse
from tfsctl.server.runtime.capi import Output
from tfsctl.server.runtime.session import BoundSignature, Endpoint
from tfsctl.server.service.model_service import Service
from tfsctl.server.status import ServingError

CLASSIFY, REGRESS = "/v1/models/m:classify", "/v1/models/m:regress"


def signature(outputs: Sequence[str]) -> BoundSignature:
    """A signature that takes examples."""
    ends = [{name: Endpoint(name, name, dtypes.FLOAT, Output()) for name in names} for names in (["inputs"], outputs)]
    return BoundSignature(ends[0], ends[1], {}, tuple(ends[1].values()), {})


class Harness:
    """A RestApi for one model whose queue keeps the runs, and the responses that were sent."""

    def __init__(self) -> None:
        self.recorder = FakeRecorder()
        self.runs: list[DirectRun] = []
        self.responses: list[RestResponse | None] = []
        queue: Any = SimpleNamespace(accepts_codecs=True, submit=self.runs.append, cancel=lambda _run: None)
        bound = {"serving_default": signature(["classes", "scores"]), "regress": signature(["outputs"])}
        session: Any = SimpleNamespace(
            signature=bound.get, signature_defs=dict.fromkeys(bound, protos.SignatureDef()), bound=bound
        )
        servable = Servable("m", 7, session, ("serving_default",), queue)
        core: Any = SimpleNamespace(servable=lambda _ref: servable)
        self.api = RestApi(Service(core, recorder=self.recorder), timeout_s=30.0, recorder=self.recorder)

    def begin(self, target: str, body: bytes) -> bool:
        """Begin to serve a request."""
        exchange: Any = SimpleNamespace(
            method="POST",
            target=target,
            headers={},
            client="c",
            is_alone=False,
            is_gone=False,
            memory_limit=2**30,
            arrived_body=lambda limit: body if len(body) <= limit else None,
        )
        return self.api.begin(exchange, self._send)

    def _send(self, _exchange: Exchange, response: RestResponse | None) -> None:
        self.responses.append(response)


def body_of(values: Sequence[float], **others: object) -> bytes:
    """A body with an example for each value."""
    return json.dumps({"examples": [{"x": value} for value in values], **others}).encode()


def outcome_of(run: DirectRun, arrays: Sequence[np.ndarray]) -> Any:
    """What the codec of a run makes of the outputs of that run alone."""
    codec = run.codec
    assert codec is not None
    return cast("Sequence[Any]", codec.encode(Stack(1, arrays=[array[None] for array in arrays])))[0]


def test_a_small_classify_body_has_no_task() -> None:
    """Its answer and what is recorded are those of a task."""
    harness = Harness()
    assert harness.begin(CLASSIFY, body_of([0.5, 1.0]))
    (run,) = harness.runs
    assert (run.rows, run.merge_key is None, run.deadline_s is not None) == (2, True, True)
    labels, scores = np.array([[b"a", b"b"]] * 2, object), np.array([[0.25, 0.75], [1.0, 0.0]], np.float32)
    run.settle(outcome_of(run, [labels, scores]))
    (response,) = harness.responses
    assert response is not None
    assert response.status == 200
    assert json.loads(response.body) == {"results": [[["a", 0.25], ["b", 0.75]], [["a", 1.0], ["b", 0.0]]]}
    assert harness.recorder.events == [
        *(("inference", "m", "Classify"), ("examples", "m", 2)),
        ("succeeded", "m", "classify", "REST"),
    ]


def test_a_small_regress_body_has_no_task() -> None:
    """The signature is the one that the body names."""
    harness = Harness()
    assert harness.begin(REGRESS, body_of([0.5], signature_name="regress"))
    (run,) = harness.runs
    run.settle(outcome_of(run, [np.array([[2.5]], np.float32)]))
    assert [json.loads(response.body) for response in harness.responses if response] == [{"results": [2.5]}]
    assert [event[0] for event in harness.recorder.events] == ["inference", "examples", "succeeded"]


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (CLASSIFY, b"{"),
        (CLASSIFY, b"{}"),
        (CLASSIFY, body_of([])),
        (CLASSIFY, body_of([1.0], context={"y": 1})),
        (CLASSIFY, body_of([1.0] * 65)),
        (CLASSIFY, body_of([1.0], signature_name="none")),
        (CLASSIFY, body_of([1.0], filling="x" * 2048)),
        (REGRESS, body_of([1.0])),
        ("/v1/models/m/versions/99999999999999999999:classify", body_of([1.0])),
    ],
    ids=[
        *("no JSON", "no examples", "empty", "a context", "many", "unknown signature", "large"),
        *("signature of classify", "no version"),
    ],
)
def test_other_bodies_need_a_task(target: str, body: bytes) -> None:
    """Nothing is submitted or sent for them."""
    harness = Harness()
    assert not harness.begin(target, body)
    assert (harness.runs, harness.responses) == ([], [])


def test_a_bug_while_a_body_is_read_is_left_to_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which answers with it."""

    def fail(*_arguments: object) -> None:
        raise KeyError("bug")

    harness = Harness()
    monkeypatch.setattr(json_example, "input_from_document", fail)
    assert not harness.begin(CLASSIFY, body_of([1.0]))


def test_outputs_of_different_shapes_are_read_one_by_one() -> None:
    """So each request has an answer, or an error, of its own."""
    harness = Harness()
    for _ in range(2):
        assert harness.begin(REGRESS, body_of([0.5], signature_name="regress"))
    codec = harness.runs[0].codec
    assert codec is not None
    outputs = Stack.of_requests([[np.array([2.5], np.float32)], [np.array([1.0, 2.0], np.float32)]])
    good, bad = cast("Sequence[Any]", codec.encode(outputs))
    assert json.loads(good) == {"results": [2.5]}
    assert isinstance(bad, ServingError)
    assert bad.message == "Input batch size did not match output batch size: 1 vs. 2"


def test_many_results_are_written_in_a_thread() -> None:
    """One example may have thousands of classes."""

    async def work() -> Any:
        harness = Harness()
        assert harness.begin(CLASSIFY, body_of([0.5]))
        codec = harness.runs[0].codec
        assert codec is not None
        scores = np.zeros((1, 1, 5000), np.float32)
        encoded = codec.encode(Stack(1, arrays=[np.full(scores.shape, b"a", object), scores]))
        assert isinstance(encoded, asyncio.Future)
        return await encoded

    (answer,) = asyncio.run(work())
    assert json.loads(answer) == {"results": [[["a", 0.0]] * 5000]}


@pytest.mark.parametrize(
    "values", [[0.1], [1.5, -0.0, float("nan"), float("inf")], [1e300, -1e300, 1e-300], [0.1] * 100], ids=str
)
def test_floats_that_are_added_at_once(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """They are those that are added one by one."""

    def serialized() -> bytes:
        return json_example.input_from_document({"examples": [{"x": values}]}).SerializeToString()

    at_once = serialized()
    monkeypatch.setattr(json_example, "_add_floats", lambda *_arguments: False)
    assert serialized() == at_once
