"""What the gRPC adapter does in threads, so that the event loop serves other clients meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from tfsctl.core import protos, tensors
from tfsctl.server.grpc import api, examples_response, framing
from tfsctl.server.grpc.api import GrpcApi
from tfsctl.server.grpc.framing import GrpcResponse
from tfsctl.server.service.model_service import InferResult, PredictResult
from tfsctl.server.signatures.examples import ValueRows
from tfsctl.server.status import Code

SERVICE = "/tensorflow.serving.PredictionService/"
MANY = 3000
TASK = {"method_name": "tensorflow/serving/regress", "model_spec": {"name": "m"}}


class FakeService:
    """Answers Predict with the number of values of each input, and MultiInference with many results."""

    async def predict(
        self, _model: object, _signature: str, inputs: Mapping[str, np.ndarray], **_options: object
    ) -> PredictResult:
        """One number for each input."""
        return PredictResult("m", 1, "s", {alias: np.array(array.size) for alias, array in inputs.items()})

    def check_tasks(self, _model: object, _specs: object) -> None:
        """All tasks are valid."""

    async def infer(self, _model: object, tasks: Sequence[object], *_arguments: object, **_options: object) -> Any:
        """Many values for each task."""
        return InferResult("m", 1, ["s"] * len(tasks), [ValueRows(np.full(MANY, 0.5, np.float32)) for _ in tasks])


def answer(method: str, request: Any) -> GrpcResponse:
    """The response of a GrpcApi."""
    service: Any = FakeService()
    return asyncio.run(GrpcApi(service).answer(SERVICE + method, {}, framing.frame(request.SerializeToString())))


def on_main_thread(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[bool]:
    """Of each call of a function that returns from now on, whether it was on the thread of the event loop."""
    calls: list[bool] = []
    function: Callable[..., Any] = getattr(module, name)

    def recorded(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        calls.append(threading.current_thread() is threading.main_thread())
        return result

    monkeypatch.setattr(module, name, recorded)
    return calls


@pytest.mark.parametrize(("count", "is_on_loop"), [(100, True), (1_000_000, False)])
def test_large_padded_tensors_are_expanded_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, *, count: int, is_on_loop: bool
) -> None:
    """One value for a large shape is expanded in a thread."""
    calls = on_main_thread(monkeypatch, tensors, "from_proto")
    request = protos.PredictRequest(model_spec={"name": "m"})
    for alias in "ab":
        request.inputs[alias].dtype = 1
        request.inputs[alias].float_val.append(1.5)
        request.inputs[alias].tensor_shape.dim.add(size=count)
    found = answer("Predict", request)

    assert found.code is Code.OK
    assert calls == [is_on_loop] * 2


def test_padding_counts_in_the_memory_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of all inputs together, before any of it is made."""
    charged: list[int] = []
    monkeypatch.setattr(api, "charge_memory", charged.append)
    request = protos.PredictRequest(model_spec={"name": "m"})
    for alias, count in (("a", 200_001), ("b", 100_001)):
        request.inputs[alias].dtype = 1
        request.inputs[alias].float_val.append(1.5)
        request.inputs[alias].tensor_shape.dim.add(size=count)

    assert answer("Predict", request).code is Code.OK
    assert charged == [3 * 4 * 300_000]


def test_numbers_that_are_not_packed_are_read_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large message that only protobuf can read becomes arrays in a thread."""
    calls = on_main_thread(monkeypatch, tensors, "from_proto")
    request = protos.PredictRequest(model_spec={"name": "m"})
    tensors.fill_proto(request.inputs["a"], np.full(100_000, 2**40), as_content=False)
    request.inputs["a"].int64_val.append(1)  # more values than the shape has
    found = answer("Predict", request)

    assert found.code is Code.OK
    assert calls == [False]


def test_invalid_padded_tensors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are refused as small ones are."""
    monkeypatch.setattr(FakeService, "refuse_predict", lambda *_: None, raising=False)
    request = protos.PredictRequest(model_spec={"name": "m"})
    for alias, sizes in (("good", [1_000_000]), ("bad", [-1])):
        request.inputs[alias].dtype = 1
        request.inputs[alias].float_val.append(1.5)
        for size in sizes:
            request.inputs[alias].tensor_shape.dim.add(size=size)
    found = answer("Predict", request)

    assert (found.code, found.message) == (Code.INVALID_ARGUMENT, "tensor parsing error: bad")


def test_many_results_of_multi_inference_are_written_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many results are written in a thread."""
    calls = on_main_thread(monkeypatch, examples_response, "regressions")
    found = answer("MultiInference", protos.MultiInferenceRequest(tasks=[TASK, TASK]))

    assert found.code is Code.OK
    assert len(calls) > 2
    assert not any(calls)
