"""A gRPC request as a Python program that uses grpcio, TensorFlow and TensorFlow Serving's own API modules."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tfsctl.cli.snippets import shell
from tfsctl.cli.snippets.python_headers import header_expression, needs_os_module
from tfsctl.clients.addresses import unix_path
from tfsctl.clients.captured_request import CapturedRequest
from tfsctl.clients.connection import Connection
from tfsctl.core import protos

# Request message -> the module that defines it.
_MODULES = {
    "PredictRequest": "predict_pb2",
    "ClassificationRequest": "classification_pb2",
    "RegressionRequest": "regression_pb2",
    "MultiInferenceRequest": "inference_pb2",
}


def snippet(request: CapturedRequest) -> str:
    """Return the program that sends the request and prints the answer."""
    return "\n".join(_lines(request))


def _lines(request: CapturedRequest) -> Iterator[str]:
    message = type(request.payload).__name__
    module = _MODULES[message]
    if needs_os_module(request.connection):
        yield "import os"
        yield ""
    yield "import grpc"
    if message == "PredictRequest":
        yield "import tensorflow as tf"
    else:
        yield "from google.protobuf import text_format"
    yield f"from tensorflow_serving.apis import {module}, prediction_service_pb2_grpc"
    yield ""
    yield from _channel_lines(request)
    yield "stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)"
    yield ""
    if message == "PredictRequest":
        yield from _predict_request_lines(request.payload)
    else:
        yield f"request = text_format.Parse({str(request.payload)!r}, {module}.{message}())"
    headers = ", ".join(
        f"({header.name.lower()!r}, {header_expression(header)})" for header in request.connection.headers
    )
    metadata = f", metadata=[{headers}]" if headers else ""
    yield f"response = stub.{request.path.rpartition('/')[2]}(request, timeout={request.timeout_s:g}{metadata})"
    if message == "PredictRequest":
        yield "print({name: tf.make_ndarray(tensor).tolist() for name, tensor in response.outputs.items()})"
    else:
        yield "print(response)"


def _channel_lines(request: CapturedRequest) -> Iterator[str]:
    options = "options=[" + ", ".join(map(str, _channel_options(request))) + "]"
    address = shell.address(request)
    tls = request.connection.tls
    if tls is None:
        yield f"channel = grpc.insecure_channel({address!r}, {options})"
        return
    files = (tls.ca, (tls.key or tls.cert) if tls.cert else None, tls.cert)
    read = ", ".join("None" if file is None else f"open({str(file)!r}, 'rb').read()" for file in files)
    yield f"credentials = grpc.ssl_channel_credentials({read})"
    yield f"channel = grpc.secure_channel({address!r}, credentials, {options})"


def _channel_options(request: CapturedRequest) -> Iterator[tuple[str, int | str]]:
    connection: Connection = request.connection
    yield "grpc.max_receive_message_length", -1
    if connection.tls is not None and connection.tls.server_name is not None:
        yield "grpc.ssl_target_name_override", connection.tls.server_name
    elif unix_path(request.host) is not None:
        yield "grpc.ssl_target_name_override", "localhost"
    if connection.proxy is not None:
        yield "grpc.http_proxy", connection.proxy
    if connection.balancing is not None:
        yield "grpc.lb_policy_name", connection.balancing


def _predict_request_lines(request: protos.PredictRequest) -> Iterator[str]:
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
    """A value as a Python literal; UTF-8 bytes become text."""
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
