"""What tests ask the embedded server over raw HTTP and gRPC."""

from __future__ import annotations

import http.client
import ssl
from typing import Any

import grpc
import numpy as np
from model_servers import Served

from tfsctl.core import protos, tensors

PREDICT = "/tensorflow.serving.PredictionService/Predict"


def rest(
    server: Served,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    *,
    context: ssl.SSLContext | None = None,
    port: int = 0,
) -> tuple[int, bytes, dict[str, str]]:
    """One HTTP request: status, body, headers in lower case. With a context over TLS."""
    port = port or server.rest_port
    connection: http.client.HTTPConnection
    if context is None:
        connection = http.client.HTTPConnection(server.host, port, timeout=240)
    else:
        connection = http.client.HTTPSConnection(server.host, port, timeout=240, context=context)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read(), {k.lower(): v for k, v in response.getheaders()}
    finally:
        connection.close()


def raw_call(channel: grpc.Channel, method: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    """A unary method that takes and returns the bytes of its messages."""
    return channel.unary_unary(method)


def predict(channel: grpc.Channel, value: float = 1.5, *, model: str = "echo", **options: Any) -> float:
    """The answer of the echo model (or another with one float input `x`) to one value, over gRPC."""
    request = protos.PredictRequest()
    request.model_spec.name = model
    request.inputs["x"].CopyFrom(tensors.to_proto(np.array([value], np.float32)))
    call = channel.unary_unary(PREDICT, protos.PredictRequest.SerializeToString, protos.PredictResponse.FromString)
    (output,) = call(request, **{"timeout": 240, **options}).outputs.values()
    answer: float = tensors.from_proto(output)[0]
    return answer
