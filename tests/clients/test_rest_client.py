"""The REST client: what it sends, how it reads what TensorFlow Serving writes, and what failures become."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from google.protobuf import json_format
from model_servers import HAS_IPV6

from tfsctl.clients.rest import RestClient
from tfsctl.core import protos
from tfsctl.core.saved_model import signatures_from_proto
from tfsctl.core.types import ModelRef
from tfsctl.errors import NotFound, NotReadyInTime, RequestRejected, ServerUnreachable, TfsctlError

MODEL = ModelRef("m")
Outputs = dict[str, tuple[str, list[str]]]


def tensor_info(dtype: str, sizes: list[str]) -> dict[str, Any]:
    """A TensorInfo as TensorFlow Serving writes it in JSON."""
    dims = [{"size": size, "name": ""} for size in sizes]
    return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": "x:0"}


def metadata_answer(outputs: Outputs, *, version: int = 1) -> dict[str, Any]:
    """A metadata answer for one signature with one input and these outputs."""
    signature = {
        "inputs": {"x": tensor_info("DT_FLOAT", ["-1"])},
        "outputs": {name: tensor_info(*spec) for name, spec in outputs.items()},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    internal = {"inputs": {}, "outputs": {}, "method_name": "", "defaults": {}}
    return {
        "model_spec": {"name": "m", "signature_name": "", "version": str(version)},
        "metadata": {
            "signature_def": {"signature_def": {"serving_default": signature, "__saved_model_init_op": internal}}
        },
    }


class Server:
    """Answers requests in place of a server, and keeps the requests."""

    def __init__(self, predict: bytes, outputs: Outputs) -> None:
        self.predict = predict
        self.outputs = outputs
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.requests.append(request)
        if request.method == "POST":
            return httpx.Response(200, content=self.predict)
        return httpx.Response(200, json=metadata_answer(self.outputs))


def client_of(answer: Callable[[httpx.Request], httpx.Response], **options: Any) -> RestClient:
    """A client whose requests `answer` answers, in place of a socket."""
    return RestClient("localhost", 8501, wire=httpx.MockTransport(answer), **options)


def failing(error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    """An answer that is a failure of the connection."""

    def answer(_request: httpx.Request) -> httpx.Response:
        raise error

    return answer


def predict(predict_answer: bytes, outputs: Outputs) -> dict[str, np.ndarray]:
    """The outputs the client reads from an answer."""
    with client_of(Server(predict_answer, outputs)) as client:
        return dict(client.predict(MODEL, {"x": np.array([1.0], np.float32)}).outputs)


def test_a_request_is_columnar_and_names_its_signature() -> None:
    """Every input goes by its name, as one batch, in the form that carries every shape."""
    server = Server(b'{"outputs": [1.0]}', {"y": ("DT_FLOAT", ["-1"])})
    with client_of(server) as client:
        client.predict(
            ModelRef("a b/c", version=3),
            {"x": np.array([[1.5, np.nan, np.inf]], np.float32), "s": np.array(["ü", b"\xff"], object)},
            signature="serving_default",
        )
    request = server.requests[0]
    assert (request.method, request.url.raw_path) == ("POST", b"/v1/models/a%20b%2Fc/versions/3:predict")
    assert json.loads(request.content) == {
        "signature_name": "serving_default",
        "inputs": {"x": [[1.5, pytest.approx(np.nan, nan_ok=True), np.inf]], "s": ["ü", {"b64": "/w=="}]},
    }


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (ModelRef("m"), b"/v1/models/m/metadata"),
        (ModelRef("m", version=2), b"/v1/models/m/versions/2/metadata"),
        (ModelRef("m", label="a/b"), b"/v1/models/m/labels/a%2Fb/metadata"),
    ],
)
def test_a_version_or_label_is_part_of_the_path(model: ModelRef, path: bytes) -> None:
    """Version and label go into the URL as TensorFlow Serving reads them."""
    server = Server(b"", {})
    with client_of(server) as client:
        client.metadata(model)
    assert server.requests[0].url.raw_path == path


def test_outputs_have_the_dtypes_of_the_signature() -> None:
    """JSON does not tell dtypes: they come from the metadata; NaN and Infinity are read bare."""
    outputs = predict(
        b'{"outputs": {"f": [1.0, NaN, -Infinity], "i": [1, 2], "b": [true]}}',
        {"f": ("DT_HALF", ["-1"]), "i": ("DT_INT64", ["-1"]), "b": ("DT_BOOL", ["-1"])},
    )
    assert {name: str(array.dtype) for name, array in outputs.items()} == {"f": "float16", "i": "int64", "b": "bool"}
    np.testing.assert_array_equal(outputs["f"], np.array([1, np.nan, -np.inf], np.float16))


def test_strings_keep_bytes_that_are_not_utf8() -> None:
    """TensorFlow Serving writes strings raw; whatever bytes they hold arrive as they are."""
    outputs = predict(b'{"outputs": ["\xff\xfe", "\xc3\xbc"]}', {"s": ("DT_STRING", ["-1"])})
    assert outputs["s"].tolist() == [b"\xff\xfe", "ü".encode()]


def test_outputs_named_bytes_are_decoded() -> None:
    """Outputs whose name ends in _bytes come as b64 objects; a scalar one is not mistaken for several outputs."""
    assert predict(b'{"outputs": [{"b64": "/w=="}]}', {"s_bytes": ("DT_STRING", ["-1"])})["s_bytes"].tolist() == [
        b"\xff"
    ]
    assert predict(b'{"outputs": {"b64": "/w=="}}', {"s_bytes": ("DT_STRING", [])})["s_bytes"].item() == b"\xff"


def test_an_empty_batch_keeps_its_inner_shape() -> None:
    """JSON has one empty list for every shape; the signature tells the rest."""
    assert predict(b'{"outputs": []}', {"y": ("DT_FLOAT", ["-1", "3"])})["y"].shape == (0, 3)


def test_the_signature_is_fetched_once() -> None:
    """Many predictions need one request for metadata."""
    server = Server(b'{"outputs": [1.0]}', {"y": ("DT_FLOAT", ["-1"])})
    with client_of(server) as client:
        for _ in range(3):
            client.predict(MODEL, {"x": np.array([1.0], np.float32)})
    assert [request.method for request in server.requests] == ["POST", "GET", "POST", "POST"]


def test_signature_of_a_version_is_cached() -> None:
    """Metadata of the latest version serves for predictions by that version's number, as tfsctl predict makes them."""
    server = Server(b'{"outputs": [1.0]}', {"y": ("DT_FLOAT", ["-1"])})
    with client_of(server) as client:
        served = client.metadata(ModelRef("m", label="stable"))
        client.predict(ModelRef("m", version=served.version), {"x": np.array([1.0], np.float32)})
    assert [request.method for request in server.requests] == ["GET", "POST"]


def test_signature_is_fetched_again_for_a_new_version() -> None:
    """If a version with other outputs was loaded, the metadata are fetched again."""
    server = Server(b'{"outputs": [1]}', {"y": ("DT_INT32", ["-1"])})
    with client_of(server) as client:
        client.predict(MODEL, {"x": np.array([1.0], np.float32)})
        server.predict, server.outputs = b'{"outputs": [0.5]}', {"z": ("DT_FLOAT", ["-1"])}
        assert client.predict(MODEL, {"x": np.array([1.0], np.float32)}).outputs["z"].tolist() == [0.5]


def test_metadata_leaves_out_internal_signatures() -> None:
    """`__saved_model_init_op` cannot be called."""
    with client_of(Server(b"", {"y": ("DT_FLOAT", ["-1"])})) as client:
        served = client.metadata(MODEL)
    assert (served.version, list(served.signatures)) == (1, ["serving_default"])


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, b'{"error": "Servable not found for request: Latest(m)"}', NotFound),
        (400, b'{"error": "Expects arg[0] to be float but string is provided"}', RequestRejected),
        (503, b"<html>no backend</html>", ServerUnreachable),
        (504, b'{"error": "Timed out waiting for notification"}', NotReadyInTime),
        (404, b"<html>no such page</html>", RequestRejected),
        (418, b"{}", RequestRejected),
        (302, b"", RequestRejected),
        (200, b"<html>hello</html>", RequestRejected),
        (200, b'{"outputs": {"a": 1, "b": 2}}', RequestRejected),
        (200, b'{"predictions": [1.0]}', RequestRejected),
        (200, b"[1.0]", RequestRejected),
    ],
)
def test_an_answer_that_is_no_prediction_is_an_error(status: int, body: bytes, expected: type[TfsctlError]) -> None:
    """Refusals by TensorFlow Serving, by a proxy before it, and answers of something else altogether."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=metadata_answer({"y": ("DT_FLOAT", ["-1"])}))
        return httpx.Response(status, content=body)

    with client_of(answer) as client, pytest.raises(TfsctlError) as caught:
        client.predict(MODEL, {"x": np.array([1.0], np.float32)})
    assert type(caught.value) is expected


def test_metadata_reads_as_over_grpc() -> None:
    """Unset and unknown shapes, TF1 references, sparse and ragged tensors give the same specs as the messages themselves."""
    definitions = protos.SignatureDefMap()
    signature = definitions.signature_def["serving_default"]
    signature.inputs["unset"].MergeFrom(protos.TensorInfo(name="a:0", dtype="DT_FLOAT_REF"))
    unknown = signature.inputs["unknown"]
    unknown.MergeFrom(protos.TensorInfo(name="b:0", dtype="DT_STRING"))
    unknown.tensor_shape.unknown_rank = True
    scalar = signature.inputs["scalar"]
    scalar.MergeFrom(protos.TensorInfo(name="c:0", dtype="DT_INT64"))
    scalar.tensor_shape.SetInParent()
    sparse = signature.outputs["sparse"]
    sparse.dtype = 9
    sparse.coo_sparse.values_tensor_name = "d:0"
    for size in (-1, 7):
        sparse.tensor_shape.dim.add(size=size)
    ragged = signature.outputs["ragged"].composite_tensor
    ragged.type_spec.type_spec_class = ragged.type_spec.RAGGED_TENSOR_SPEC
    ragged.components.add(name="e:0", dtype="DT_STRING")
    ragged.components.add(name="f:0", dtype="DT_INT64")
    document = json_format.MessageToDict(
        definitions, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    )
    answer = metadata_answer({})
    answer["metadata"]["signature_def"] = document

    with client_of(lambda _request: httpx.Response(200, json=answer)) as client:
        found = client.metadata(MODEL).signatures["serving_default"]

    assert found == signatures_from_proto(definitions.signature_def)["serving_default"]
    assert [(spec.name, spec.dtype, spec.shape) for spec in found.inputs] == [
        ("scalar", "int64", ()),
        ("unknown", "string", None),
        ("unset", "float32", None),
    ]
    assert [(spec.dtype, spec.shape_text) for spec in found.outputs] == [
        ("string", "unknown rank (ragged)"),
        ("int64", "[batch, 7] (sparse)"),
    ]


@pytest.mark.parametrize(
    "body", [{}, {"model_spec": {"name": "m", "version": "one"}}, {"model_spec": 5, "metadata": 5}]
)
def test_an_answer_that_is_no_metadata_is_an_error(body: object) -> None:
    """Another service on that port may answer with JSON too."""
    with client_of(lambda _: httpx.Response(200, json=body)) as client:
        with pytest.raises(RequestRejected, match="it is not model metadata"):
            client.metadata(MODEL)
        with pytest.raises(RequestRejected, match="it is not a model status"):
            client.status(MODEL)


@pytest.mark.parametrize(
    ("failure", "expected", "hint"),
    [
        (httpx.ConnectError("[Errno 111] Connection refused"), ServerUnreachable, "tfsctl serve PATH"),
        (httpx.ReadError(""), ServerUnreachable, "tfsctl serve PATH"),
        (httpx.RemoteProtocolError("illegal status line"), ServerUnreachable, "for a gRPC port add --grpc"),
        (httpx.ConnectTimeout("timed out"), NotReadyInTime, "--connect-timeout and --timeout SECONDS wait longer"),
    ],
)
def test_a_broken_connection_is_an_error_with_a_hint(
    failure: Exception, expected: type[TfsctlError], hint: str
) -> None:
    """The message has no error number, and a hint."""
    with client_of(failing(failure)) as client, pytest.raises(expected) as caught:
        client.status(MODEL)
    assert hint in caught.value.hint
    assert "localhost:8501" in caught.value.message
    assert "Errno" not in caught.value.message


def test_interrupting_a_request_leaves_the_client_usable() -> None:
    """Ctrl-C during a request goes through as it is, and the next request works."""
    answers: Iterator[Any] = iter([KeyboardInterrupt(), httpx.Response(200, json={"model_version_status": []})])

    def answer(_request: httpx.Request) -> httpx.Response:
        now = next(answers)
        if isinstance(now, BaseException):
            raise now
        return now

    with client_of(answer) as client:
        with pytest.raises(KeyboardInterrupt):
            client.status(MODEL)
        assert client.status(MODEL) == ()


def request_to(server: socket.socket, client: RestClient) -> bytes:
    """The beginning of the request for a status, whose connection the server closes without an answer."""
    server.settimeout(240)
    with ThreadPoolExecutor(1) as pool:
        status = pool.submit(client.status, MODEL)
        connection, _ = server.accept()
        with connection:
            request = connection.recv(1000)
        with pytest.raises(ServerUnreachable):
            status.result()
    return request


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY is for other hosts: a local server is reached directly."""
    with socket.create_server(("127.0.0.1", 0)) as proxy, socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        port = server.getsockname()[1]
        with RestClient("127.0.0.1", port, timeout_s=240) as client:
            assert request_to(server, client).startswith(b"GET /v1/models/m HTTP/1.1")
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")
def test_an_ipv6_address_is_reached() -> None:
    """The address goes in brackets into URLs, and the request arrives."""
    server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    with server, RestClient("::1", server.getsockname()[1], timeout_s=240) as client:
        assert f"host: {client.address}".encode() in request_to(server, client).lower()
