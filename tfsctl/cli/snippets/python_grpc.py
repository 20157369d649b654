"""A gRPC call as a Python program with TensorFlow Serving's own modules, which load TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tfsctl.cli.snippets import shell
from tfsctl.cli.snippets.python import header_value, needs_environment
from tfsctl.clients.captured_request import CapturedRequest
from tfsctl.clients.connection import Connection
from tfsctl.core import protos

# The module of each request message, as the program imports it.
_MODULES = {
    "PredictRequest": "predict_pb2",
    "ClassificationRequest": "classification_pb2",
    "RegressionRequest": "regression_pb2",
    "MultiInferenceRequest": "inference_pb2",
}


def shown(call: CapturedRequest) -> str:
    """The program that asks the same and prints the answer."""
    return "\n".join(_lines(call))


def _lines(call: CapturedRequest) -> Iterator[str]:
    message = type(call.payload).__name__
    module = _MODULES[message]
    if needs_environment(call.connection):
        yield "import os"
        yield ""
    yield "import grpc"
    if message == "PredictRequest":
        yield "import tensorflow as tf"
    else:
        yield "from google.protobuf import text_format"
    yield f"from tensorflow_serving.apis import {module}, prediction_service_pb2_grpc"
    yield ""
    yield from _channel(call)
    yield "stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)"
    yield ""
    if message == "PredictRequest":
        yield from _predict(call.payload)
    else:
        yield f"request = text_format.Parse({str(call.payload)!r}, {module}.{message}())"
    headers = ", ".join(f"({header.name.lower()!r}, {header_value(header)})" for header in call.connection.headers)
    metadata = f", metadata=[{headers}]" if headers else ""
    yield f"response = stub.{call.path.rpartition('/')[2]}(request, timeout={call.timeout_s:g}{metadata})"
    if message == "PredictRequest":
        yield "print({name: tf.make_ndarray(tensor).tolist() for name, tensor in response.outputs.items()})"
    else:
        yield "print(response)"


def _channel(call: CapturedRequest) -> Iterator[str]:
    options = "options=[" + ", ".join(map(str, _options(call))) + "]"
    address = call.host if call.host.startswith("unix:") else shell.address(call)
    tls = call.connection.tls
    if tls is None:
        yield f"channel = grpc.insecure_channel({address!r}, {options})"
        return
    files = (tls.ca, (tls.key or tls.cert) if tls.cert else None, tls.cert)
    read = ", ".join("None" if file is None else f"open({str(file)!r}, 'rb').read()" for file in files)
    yield f"credentials = grpc.ssl_channel_credentials({read})"
    yield f"channel = grpc.secure_channel({address!r}, credentials, {options})"


def _options(call: CapturedRequest) -> Iterator[tuple[str, int | str]]:
    connection: Connection = call.connection
    yield "grpc.max_receive_message_length", -1
    if call.host.startswith("unix:"):
        yield "grpc.ssl_target_name_override", "localhost"
    if connection.proxy is not None:
        yield "grpc.http_proxy", connection.proxy
    if connection.balancing is not None:
        yield "grpc.lb_policy_name", connection.balancing


def _predict(request: protos.PredictRequest) -> Iterator[str]:
    from tfsctl.core import dtypes, tensors

    spec = request.model_spec
    yield "request = predict_pb2.PredictRequest()"
    yield f"request.model_spec.name = {spec.name!r}"
    if spec.signature_name:
        yield f"request.model_spec.signature_name = {spec.signature_name!r}"
    if spec.HasField("version"):
        yield f"request.model_spec.version.value = {spec.version.value}"
    elif spec.version_label:
        yield f"request.model_spec.version_label = {spec.version_label!r}"
    for name in sorted(request.inputs):
        array = tensors.from_proto(request.inputs[name])
        dtype = dtypes.name_of(request.inputs[name].dtype)
        arguments = f"{_literal(array.tolist())}, dtype={dtype!r}, shape={list(array.shape)}"
        yield f"request.inputs[{name!r}].CopyFrom(tf.make_tensor_proto({arguments}))"
    if request.output_filter:
        yield f"request.output_filter.extend({list(request.output_filter)!r})"


def _literal(value: object) -> str:
    """A value as Python writes it; text as text where it is some."""
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    if isinstance(value, bytes):
        try:
            return repr(value.decode())
        except UnicodeDecodeError:
            pass
    return repr(value)
