"""The gRPC client against a real gRPC server whose answers a test writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from model_servers import HAS_IPV6

from tfsctl.clients.connection import DEFAULT_CONNECTION, Connection
from tfsctl.clients.grpc import GrpcClient
from tfsctl.core import protos, tensors
from tfsctl.core.types import ModelRef, VersionStatus
from tfsctl.errors import AnswerTooLarge, NotFound, NotReadyInTime, RequestRejected, ServerUnreachable

MODEL = ModelRef("m")
ONE = {"x": np.array([1.0], np.float32)}
Answer = Callable[[Any, grpc.ServicerContext], Any]

METHODS = {
    "/tensorflow.serving.PredictionService/Predict": ("PredictRequest", "PredictResponse"),
    "/tensorflow.serving.PredictionService/GetModelMetadata": ("GetModelMetadataRequest", "GetModelMetadataResponse"),
    "/tensorflow.serving.ModelService/GetModelStatus": ("GetModelStatusRequest", "GetModelStatusResponse"),
}


class _Handlers(grpc.GenericRpcHandler):
    """Answers every method of TensorFlow Serving with one function."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def service(self, details: Any) -> Any:
        if details.method not in METHODS:
            return None
        request, response = (getattr(protos, name) for name in METHODS[details.method])
        return grpc.unary_unary_rpc_method_handler(
            self._answer, request_deserializer=request.FromString, response_serializer=response.SerializeToString
        )


@contextmanager
def client_of(
    answer: Answer, *, host: str = "127.0.0.1", timeout_s: float = 60.0, connection: Connection = DEFAULT_CONNECTION
) -> Iterator[GrpcClient]:
    """A client of a server that gives these answers."""
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_Handlers(answer)], options=unlimited)
    port = server.add_insecure_port(f"[{host}]:0" if ":" in host else f"{host}:0")
    server.start()
    with GrpcClient(host, port, timeout_s=timeout_s, connection=connection) as client:
        yield client
    server.stop(0).wait()


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_an_answer_has_a_limit(compression: grpc.Compression) -> None:
    """A larger answer, also one that is small until it is decompressed, is an error of its own."""

    def answer(_request: Any, context: grpc.ServicerContext) -> Any:
        context.set_compression(compression)
        response = protos.PredictResponse()
        response.outputs["y"].CopyFrom(tensors.to_proto(np.zeros(3 << 20, np.uint8)))
        return response

    with (
        client_of(answer, connection=Connection(max_answer_bytes=2 << 20)) as client,
        pytest.raises(AnswerTooLarge, match="the answer is larger than 2 MB"),
    ):
        client.predict(MODEL, ONE)
    with client_of(answer, connection=Connection(max_answer_bytes=4 << 20)) as client:
        assert client.predict(MODEL, ONE).outputs["y"].size == 3 << 20


def test_a_request_names_model_version_and_signature() -> None:
    """The model spec says what to run; the answer's spec says which version ran."""
    requests = []

    def answer(request: Any, _context: grpc.ServicerContext) -> Any:
        requests.append(request)
        response = protos.PredictResponse()
        response.model_spec.version.value = 4
        response.outputs["y"].CopyFrom(tensors.to_proto(np.array([[2.5]], np.float32)))
        return response

    with client_of(answer) as client:
        prediction = client.predict(ModelRef("m", label="stable"), ONE, signature="s")
    assert (requests[0].model_spec.name, requests[0].model_spec.signature_name) == ("m", "s")
    assert requests[0].model_spec.version_label == "stable"
    assert tensors.from_proto(requests[0].inputs["x"]).tolist() == [1.0]
    assert (prediction.version, prediction.outputs["y"].tolist()) == (4, [[2.5]])
    assert 0 < prediction.latency_s < 10


def test_messages_may_be_larger_than_grpc_allows_by_default() -> None:
    """8 MB goes and comes back: the 4 MB limit is lifted both ways."""

    def answer(request: Any, _context: grpc.ServicerContext) -> Any:
        response = protos.PredictResponse()
        response.outputs["y"].CopyFrom(request.inputs["x"])
        return response

    large = np.arange(2_000_000, dtype=np.float32)
    with client_of(answer) as client:
        np.testing.assert_array_equal(client.predict(MODEL, {"x": large}).outputs["y"], large)


def test_metadata_unpacks_the_signatures() -> None:
    """The signatures come in an Any; those TensorFlow keeps for itself are left out."""

    def answer(request: Any, _context: grpc.ServicerContext) -> Any:
        assert list(request.metadata_field) == ["signature_def"]
        signatures = protos.SignatureDefMap()
        signatures.signature_def["serving_default"].inputs["x"].dtype = 1
        signatures.signature_def["__saved_model_init_op"].SetInParent()
        response = protos.GetModelMetadataResponse()
        response.model_spec.name = "m"
        response.model_spec.version.value = 4
        response.metadata["signature_def"].Pack(signatures)
        return response

    with client_of(answer) as client:
        served = client.metadata(MODEL)
    assert (served.name, served.version, list(served.signatures)) == ("m", 4, ["serving_default"])


def test_status_lists_the_highest_version_first() -> None:
    """States and error codes have TensorFlow Serving's names."""

    def answer(_request: Any, _context: grpc.ServicerContext) -> Any:
        response = protos.GetModelStatusResponse()
        response.model_version_status.add(version=1, state="END").status.error_code = 3
        response.model_version_status.add(version=2, state="AVAILABLE")
        return response

    with client_of(answer) as client:
        assert client.status(MODEL) == (VersionStatus(2, "AVAILABLE"), VersionStatus(1, "END", "INVALID_ARGUMENT"))


def test_an_inconsistent_response_is_the_fault_of_the_server() -> None:
    """A tensor that contradicts itself, and metadata without signatures, are the server's fault, not the user's."""

    def answer(request: Any, _context: grpc.ServicerContext) -> Any:
        if type(request).__name__ == "GetModelMetadataRequest":
            return protos.GetModelMetadataResponse()
        response = protos.PredictResponse()
        response.outputs["y"].dtype = 99
        return response

    with client_of(answer) as client:
        with pytest.raises(RequestRejected, match="unknown dtype 99"):
            client.predict(MODEL, ONE)
        with pytest.raises(RequestRejected, match="holds no signature_def"):
            client.metadata(MODEL)


def test_a_refusal_carries_status_and_words() -> None:
    """The error has the message of the server."""

    def answer(_request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Expects arg[0] to be float but string is provided")

    with client_of(answer) as client, pytest.raises(RequestRejected) as caught:
        client.predict(MODEL, ONE)
    assert caught.value.status == "INVALID_ARGUMENT"
    assert caught.value.message == (
        f"m at {client.address} refused (INVALID_ARGUMENT): Expects arg[0] to be float but string is provided"
    )


def test_a_missing_signature_is_not_found() -> None:
    """TensorFlow Serving's FAILED_PRECONDITION for it is the same error as REST's INVALID_ARGUMENT."""

    def answer(_request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "nope" not found.')

    with client_of(answer) as client, pytest.raises(NotFound):
        client.predict(MODEL, ONE, signature="nope")


def test_a_server_without_tensorflow_serving_is_refused_with_a_hint() -> None:
    """A gRPC server of something else knows no such method."""
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with GrpcClient("127.0.0.1", port) as client, pytest.raises(RequestRejected) as caught:
        client.status(MODEL)
    server.stop(0).wait()
    assert caught.value.hint == "check that the port is a gRPC port of TensorFlow Serving"


def test_a_slow_answer_is_not_waited_for() -> None:
    """After the timeout the call ends, whatever the server does."""
    is_over = threading.Event()

    def answer(_request: Any, _context: grpc.ServicerContext) -> Any:
        is_over.wait()
        return protos.PredictResponse()

    with client_of(answer, timeout_s=0.1) as client:
        with pytest.raises(NotReadyInTime):
            client.predict(MODEL, ONE)
        is_over.set()


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """http_proxy is for other hosts; here it leads nowhere, and the server is reached."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with client_of(lambda _request, _context: protos.GetModelStatusResponse()) as client:
        assert client.status(MODEL) == ()


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")
def test_an_ipv6_address_is_reached() -> None:
    """The address goes in brackets, in messages too."""
    with client_of(lambda _request, _context: protos.GetModelStatusResponse(), host="::1") as client:
        assert client.status(MODEL) == ()
        assert client.address.startswith("[::1]:")


def test_the_error_of_an_unreachable_server_is_short() -> None:
    """GRPC's long message for a refused connection is cut to the reason."""
    with GrpcClient("127.0.0.1", 9) as client, pytest.raises(ServerUnreachable) as caught:
        client.status(MODEL)
    assert caught.value.message == "no answer from 127.0.0.1:9: Connection refused"
