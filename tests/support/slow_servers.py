"""Servers that return their signature but never answer a predict, for tests of Ctrl-C."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

import grpc
from http_handlers import serving

from tfsctl.core import protos

SlowServer = Callable[[threading.Event], AbstractContextManager[int]]


class _Slow(BaseHTTPRequestHandler):
    """Returns a signature, and never answers a predict."""

    protocol_version = "HTTP/1.1"
    received: ClassVar[threading.Event]

    def do_GET(self) -> None:
        tensor = {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}], "unknown_rank": False}, "name": "x:0"}
        signature = {"inputs": {"x": tensor}, "outputs": {"x": tensor}, "method_name": ""}
        body = json.dumps(
            {
                "model_spec": {"name": "slow", "version": "1"},
                "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.received.set()
        self.rfile.read()  # returns when the other side hangs up

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is given
        """Say nothing."""


@contextmanager
def slow_rest(received: threading.Event) -> Iterator[int]:
    """The port of a REST server that never predicts."""
    _Slow.received = received
    with serving(_Slow) as port:
        yield port


@contextmanager
def slow_grpc(received: threading.Event) -> Iterator[int]:
    """The port of a gRPC server that never predicts."""
    abandoned = threading.Event()

    def predict(_request: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(abandoned.set)
        received.set()
        abandoned.wait(timeout=240)
        return b""

    def metadata(_request: bytes, _context: grpc.ServicerContext) -> bytes:
        signatures = protos.SignatureDefMap()
        signatures.signature_def["serving_default"].inputs["x"].dtype = 1
        response = protos.GetModelMetadataResponse()
        response.model_spec.name = "slow"
        response.metadata["signature_def"].Pack(signatures)
        return bytes(response.SerializeToString())

    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        name: grpc.unary_unary_rpc_method_handler(run)
        for name, run in (("Predict", predict), ("GetModelMetadata", metadata))
    }
    handler = grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", methods)
    server = grpc.server(ThreadPoolExecutor(2), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(0).wait()
