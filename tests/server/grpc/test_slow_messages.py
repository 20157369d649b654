"""Messages that are small, but would take long to unpack, convert or check on the event loop."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fake_threads import FakeThreads

from tfsctl.core import protos, tensors
from tfsctl.errors import InvalidInput
from tfsctl.server.execution.servable import Servable
from tfsctl.server.grpc import api as grpc_api
from tfsctl.server.grpc import framing
from tfsctl.server.request_context import current_request
from tfsctl.server.service.model_service import Service
from tfsctl.server.signatures import examples as signature_examples
from tfsctl.server.status import Code, ServingError, invalid_argument

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_GZIP = {b"grpc-encoding": b"gzip"}


class _Request:
    """The context of a request that may use so much memory."""

    client: object = None
    is_alone = False
    run: object = None

    def __init__(self, memory_limit: int) -> None:
        self.memory_limit, self.charged = memory_limit, list[int]()

    def charge(self, size: int) -> None:
        """Note it."""
        self.charged.append(size)


def _refuse(*_: object, **__: object) -> None:
    raise invalid_argument("refused by its names")


def _call(body: bytes, request: _Request) -> framing.GrpcResponse:
    async def call() -> framing.GrpcResponse:
        current_request.set(request)
        return await api.answer(_PREDICT, _GZIP, body)

    api = grpc_api.GrpcApi(cast("Service", SimpleNamespace(refuse_predict=_refuse, predict=_refuse)))
    return asyncio.run(call())


def _packed(size: int) -> bytes:
    request = protos.PredictRequest(model_spec={"name": "m" * size})
    message = gzip.compress(request.SerializeToString())
    return b"\1" + len(message).to_bytes(4, "big") + message


@pytest.mark.parametrize(
    ("size", "code", "is_slow"),
    [
        (1000, Code.INVALID_ARGUMENT, False),
        (1_000_000, Code.INVALID_ARGUMENT, True),
        (3_000_000, Code.RESOURCE_EXHAUSTED, True),
    ],
)
def test_large_compressed_messages_are_unpacked_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, size: int, code: Code, *, is_slow: bool
) -> None:
    """Four kilobytes may expand to four megabytes: those are unpacked in a thread, within the memory budget."""
    sizes = FakeThreads.take_place(monkeypatch, grpc_api)
    request = _Request(4_000_000)

    assert _call(_packed(size), request).code is code
    assert bool(sizes) is is_slow
    assert (sum(request.charged) > size) is (is_slow and code is Code.INVALID_ARGUMENT)


def test_names_are_checked_before_thousands_of_tensors_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(tensors, "from_proto", read)
    request = protos.PredictRequest(model_spec={"name": "m"})
    for number in range(2000):
        request.inputs[str(number)].dtype = 1
    message = request.SerializeToString()

    response = _call(b"\0" + len(message).to_bytes(4, "big") + message, _Request(2**30))

    assert response.message == "refused by its names"


def test_thousands_of_dimensions_are_not_read() -> None:
    """TensorFlow has at most 254."""
    tensor = protos.TensorProto(dtype=1, tensor_shape={"dim": [{"size": 1}] * 255}, float_val=[1.0])

    with pytest.raises(InvalidInput, match="255 dimensions"):
        tensors.from_proto(tensor)


def test_the_check_of_tasks_ends_at_the_first_that_is_wrong() -> None:
    def specs() -> Iterator[tuple[str, str, str]]:
        yield "m", "", signature_examples.CLASSIFY_METHOD
        raise AssertionError

    servable = cast("Servable", SimpleNamespace(signature=lambda _name: None))

    with pytest.raises(ServingError, match="not found in model graph"):
        signature_examples.check_tasks(servable, specs(), check_method_name=False)


def test_a_context_counts_once_for_each_example() -> None:
    """A context of 60 kB and 30,000 empty examples are 62 kB in a request, and 1.8 GB for the model."""
    message = protos.Input()
    listed = message.example_list_with_context
    listed.context.features.feature["x"].bytes_list.value.append(bytes(60_000))
    for _ in range(500):
        listed.examples.add()
    request = _Request(2**30)

    async def infer() -> None:
        current_request.set(request)
        servable = SimpleNamespace()
        await Service(cast("Any", SimpleNamespace(servable=lambda _ref: servable))).infer(
            cast("Any", None), [], message
        )

    with pytest.raises(AttributeError):
        asyncio.run(infer())
    assert sum(request.charged) >= 500 * 60_000
