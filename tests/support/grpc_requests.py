"""gRPC calls to a model server with the official client library: one at a time, or several at the same moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from model_servers import Served

from tfsctl.core import protos, tensors

_PREDICTION = "/tensorflow.serving.PredictionService/"
PREDICT = _PREDICTION + "Predict"
_TYPES = {
    "Predict": ("PredictRequest", "PredictResponse"),
    "Classify": ("ClassificationRequest", "ClassificationResponse"),
    "Regress": ("RegressionRequest", "RegressionResponse"),
    "MultiInference": ("MultiInferenceRequest", "MultiInferenceResponse"),
}


@dataclass(frozen=True)
class Answer:
    """The end of a call: its code and details, or its message if the code is OK."""

    code: str
    details: str = ""
    message: Any = None

    def __getitem__(self, alias: str) -> Any:
        """An output of a predict, as lists, or a single value."""
        assert self.code == "OK", self
        return tensors.from_proto(self.message.outputs[alias]).tolist()


def predict(model: str, signature: str = "", /, **inputs: Any) -> tuple[str, Any]:
    """A Predict call; lists of floats are float32."""
    request = protos.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for alias, value in inputs.items():
        array = value if isinstance(value, np.ndarray) else np.array(value, np.float32)
        request.inputs[alias].CopyFrom(tensors.to_proto(array))
    return "Predict", request


class Calls:
    """Calls over one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def start(self, call: tuple[str, Any], timeout_s: float = 240) -> Any:
        """Start a call."""
        method, request = call
        request_type, response_type = (getattr(protos, name) for name in _TYPES[method])
        return self._channel.unary_unary(
            _PREDICTION + method, request_type.SerializeToString, response_type.FromString
        ).future(request, timeout=timeout_s)

    def __call__(self, call: tuple[str, Any], timeout_s: float = 240) -> Answer:
        """One call and its answer."""
        return answer(self.start(call, timeout_s))

    def together(self, calls: Sequence[tuple[str, Any]], timeout_s: float = 240) -> list[Answer]:
        """Calls made at the same moment, and their answers in the same order."""
        return [answer(started) for started in [self.start(call, timeout_s) for call in calls]]


def answer(started: Any) -> Answer:
    """Wait for the end of a call."""
    try:
        return Answer("OK", message=started.result())
    except grpc.RpcError:
        return Answer(started.code().name, started.details() or "")


@contextmanager
def calling(server: Served) -> Iterator[Calls]:
    """Calls to a server over a connection that is up, for as long as the block runs."""
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=240)
        yield Calls(channel)


def raw_call(channel: grpc.Channel, method: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    """A unary method that takes and returns the bytes of its messages."""
    return channel.unary_unary(method)


def predict_value(channel: grpc.Channel, value: float = 1.5, *, model: str = "echo", **options: Any) -> float:
    """The answer of the echo model (or another with one float input `x`) to one value."""
    _, request = predict(model, x=[value])
    call = channel.unary_unary(PREDICT, protos.PredictRequest.SerializeToString, protos.PredictResponse.FromString)
    (output,) = call(request, **{"timeout": 240, **options}).outputs.values()
    answer: float = tensors.from_proto(output)[0]
    return answer
