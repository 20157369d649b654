"""Both protocols on real sockets: correct, unusual and hostile requests."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from echo_models import write_echo_model
from grpc_requests import raw_call
from model_servers import Served, running_server
from scale_models import write_scale_model

from tfsctl.core import protos, tensors

pytestmark = pytest.mark.server

PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server, with an echo and a slow model, and room for large messages."""
    base = tmp_path_factory.mktemp("protocols")
    write_echo_model(base / "echo" / "7")
    write_scale_model(base / "slow" / "1", 1.0, matmul_size=5000)
    models = {"echo": base / "echo", "slow": base / "slow"}
    with running_server(models, base, flags=["--max_held_megabytes=1000"]) as running:
        yield running


@pytest.fixture
def channel(server: Served) -> Iterator[grpc.Channel]:
    """A gRPC channel without message limits."""
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}", options=limits) as channel:
        yield channel


def rest(
    server: Served, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes, dict[str, str]]:
    """One HTTP request: status, body, headers in lower case."""
    connection = http.client.HTTPConnection(server.host, server.rest_port, timeout=240)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    answer = response.status, response.read(), {k.lower(): v for k, v in response.getheaders()}
    connection.close()
    return answer


def call(channel: grpc.Channel, method: str, request: Any, **options: Any) -> Any:
    """One gRPC call with official messages; the response type follows from the request's."""
    response = getattr(protos, type(request).__name__.replace("Request", "Response"))
    stub: grpc.UnaryUnaryMultiCallable[Any, Any] = channel.unary_unary(
        method, request_serializer=type(request).SerializeToString, response_deserializer=response.FromString
    )
    return stub(request, timeout=240, **options)


def predict_request(array: np.ndarray, *, model: str = "echo", signature: str = "") -> Any:
    """A PredictRequest with one input, `x` or `text`."""
    request = protos.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    request.inputs["text" if array.dtype == object else "x"].CopyFrom(tensors.to_proto(array))
    return request


# ---- REST ----
def test_predict_answers_in_the_form_of_the_request(server: Served) -> None:
    """Rows with `predictions`, columns with `outputs`, as JSON."""
    status, body, headers = rest(server, "POST", "/v1/models/echo:predict", b'{"instances": [1.5, 2]}')

    assert (status, body) == (200, b'{\n    "predictions": [1.5, 2.0\n    ]\n}')
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(body))

    body = rest(server, "POST", "/v1/models/echo/versions/7:predict", b'{"inputs": {"x": [1.5]}}')[1]

    assert json.loads(body) == {"outputs": [1.5]}


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/v1/models/echo:predict", 400, "Malformed request: GET /v1/models/echo:predict"),
        ("POST", "/v1/models/echo", 400, "Malformed request: POST /v1/models/echo"),
        ("PUT", "/v1/models/echo:predict", 400, "Malformed request: PUT /v1/models/echo:predict"),
        ("POST", "/v1/models/echo:predict/", 400, "Malformed request: POST /v1/models/echo:predict/"),
        ("POST", "/v1/models/echo:predict?a=b", 400, "Malformed request: POST /v1/models/echo:predict?a=b"),
        ("POST", "/v1/models/echo:PREDICT", 400, "Malformed request: POST /v1/models/echo:PREDICT"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/nope", 404, "Could not find any versions of model nope"),
        ("GET", "/v1/models/a%20b", 404, "Could not find any versions of model a b"),
        ("GET", "/v1/models/echo?x=1", 404, "Could not find any versions of model echo?x=1"),
        ("GET", "/v1/models/..%2f..%2fetc", 404, "Could not find any versions of model ../../etc"),
        ("GET", "/v1/models/echo/versions/9", 404, "Could not find version 9 of model echo"),
        ("GET", "/v1/models/echo/versions/abc", 400, "Malformed request: GET /v1/models/echo/versions/abc"),
        ("GET", "/v1/models/echo/labels/x/metadata", 400, "Unrecognized servable version label: x"),
    ],
)
def test_unknown_paths_and_verbs_are_malformed_requests(
    server: Served, method: str, path: str, status: int, said: str
) -> None:
    """The error has the path as it was sent."""
    body = b'{"instances": [1.0]}' if method in ("POST", "PUT") else None

    assert rest(server, method, path, body)[:2] == (status, f'{{\n    "error": "{said}"\n}}'.encode())


def test_only_model_names_are_case_sensitive(server: Served) -> None:
    """`/V1/Models` is `/v1/models`."""
    assert rest(server, "GET", "/V1/Models/echo")[0] == 200
    assert rest(server, "GET", "/v1/models/Echo")[0] == 404


def test_paths_outside_v1_are_an_html_404(server: Served) -> None:
    """As with the real server's HTTP library."""
    status, body, headers = rest(server, "GET", "/healthz")

    assert (status, headers["content-type"]) == (404, "text/html")
    assert b"<H1>Not Found</H1>" in body


def test_a_version_no_int64_can_hold_is_an_empty_400(server: Served) -> None:
    """The only error without a body."""
    assert rest(server, "GET", "/v1/models/echo/versions/99999999999999999999")[:2] == (400, b"")


def test_gzip_bodies_are_unpacked(server: Served) -> None:
    """An invalid gzip body reads as empty, and so does a bomb."""
    zipped = gzip.compress(b'{"instances": [1.0]}')
    headers = {"Content-Encoding": "gzip"}

    assert rest(server, "POST", "/v1/models/echo:predict", zipped, headers)[0] == 200
    for body in (b'{"instances": [1.0]}', gzip.compress(bytes(101 * 1024 * 1024))):
        status, said, _ = rest(server, "POST", "/v1/models/echo:predict", body, headers)
        assert (status, json.loads(said)["error"]) == (400, "JSON Parse error: The document is empty")


def test_metadata_is_laid_out_as_in_the_real_server(server: Served) -> None:
    """The signature map is nested twice, sizes are text, and every field is there."""
    document = json.loads(rest(server, "GET", "/v1/models/echo/metadata")[1])
    signature = document["metadata"]["signature_def"]["signature_def"]["row"]

    assert document["model_spec"] == {"name": "echo", "version": "7", "signature_name": ""}
    assert signature["inputs"]["x"] == {
        "name": "row_x:0",
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "3", "name": ""}], "unknown_rank": False},
    }


# ---- gRPC ----
def test_predict_over_grpc_answers_in_typed_fields(channel: grpc.Channel) -> None:
    """With the version and the signature that answered."""
    response = call(channel, PREDICT, predict_request(np.array([1.5, 2.5], np.float32)))

    assert list(response.outputs["x"].float_val) == [1.5, 2.5]
    assert (response.model_spec.version.value, response.model_spec.signature_name) == (7, "serving_default")


def test_messages_of_a_hundred_megabytes_are_answered(channel: grpc.Channel) -> None:
    """In and out in one call."""
    array = np.arange(25_000_000, dtype=np.float32)

    response = call(channel, PREDICT, predict_request(array))

    assert np.array_equal(tensors.from_proto(response.outputs["x"]), array)


def test_compressed_messages_are_accepted(channel: grpc.Channel) -> None:
    request = predict_request(np.zeros(10_000, np.float32))
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        assert len(call(channel, PREDICT, request, compression=compression).outputs["x"].float_val) == 10_000


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"name": "nope"}, "NOT_FOUND", "Servable not found for request: Latest(nope)"),
        ({"name": ""}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ({"version": {"value": 5}}, "NOT_FOUND", "Servable not found for request: Specific(echo, 5)"),
        ({"version_label": "é"}, "INVALID_ARGUMENT", "Unrecognized servable version label: é"),
        ({"signature_name": "zz"}, "FAILED_PRECONDITION", 'Serving signature key "zz" not found.'),
    ],
)
def test_grpc_errors_are_those_of_the_real_server(
    channel: grpc.Channel, change: dict[str, Any], code: str, said: str
) -> None:
    """Code and message, UTF-8 included."""
    request = predict_request(np.zeros(1, np.float32))
    request.model_spec.MergeFrom(protos.ModelSpec(**change))
    if change.get("name") == "":
        request.model_spec.ClearField("name")

    with pytest.raises(grpc.RpcError) as refused:
        call(channel, PREDICT, request)

    assert (refused.value.code().name, refused.value.details()) == (code, said)


def test_inputs_that_do_not_match_the_signature_are_refused(channel: grpc.Channel) -> None:
    """Names and dtypes are compared with the signature. A tensor that cannot be parsed is refused as well."""
    said = {}
    for case, request in {
        "missing": protos.PredictRequest(model_spec={"name": "echo"}),
        "dtype": predict_request(np.zeros(1, np.int64)),
        "tensor": predict_request(np.zeros(1, np.float32)),
    }.items():
        if case == "tensor":
            request.inputs["x"].dtype = 0
        with pytest.raises(grpc.RpcError) as refused:
            call(channel, PREDICT, request)
        said[case] = refused.value.details()

    assert said == {
        "missing": "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. "
        "Missing but required: {x}.",
        "dtype": "Expects arg[0] to be float but int64 is provided",
        "tensor": "tensor parsing error: x",
    }


def test_long_error_messages_are_truncated(channel: grpc.Channel) -> None:
    """After 1024 characters, so that they fit a header."""
    with pytest.raises(grpc.RpcError) as refused:
        call(channel, PREDICT, predict_request(np.zeros(1, np.float32), signature="z" * 2000))

    details = refused.value.details() or ""
    assert (len(details), details[-12:]) == (1024 + 12, "...TRUNCATED")


def test_unknown_methods_are_unimplemented(channel: grpc.Channel) -> None:
    """With no message."""
    with pytest.raises(grpc.RpcError) as refused:
        raw_call(channel, "/tensorflow.serving.PredictionService/Nope")(b"", timeout=240)

    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, "")


def test_invalid_messages_get_a_status(channel: grpc.Channel) -> None:
    """And the connection stays open."""
    stub = raw_call(channel, PREDICT)
    for raw in (b"\xff\xff\xff", os.urandom(1000)):
        with pytest.raises(grpc.RpcError) as refused:
            stub(raw, timeout=240)
        assert refused.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)

    assert call(channel, PREDICT, predict_request(np.ones(1, np.float32))).outputs["x"].float_val[0] == 1


def test_a_call_past_its_deadline_is_ended(server: Served, channel: grpc.Channel) -> None:
    """With DEADLINE_EXCEEDED, and the server is free again."""
    request = predict_request(np.ones(1, np.float32), model="slow")
    stub = channel.unary_unary(PREDICT, protos.PredictRequest.SerializeToString, protos.PredictResponse.FromString)
    with pytest.raises(grpc.RpcError) as refused:
        stub(request, timeout=0.2)

    assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert rest(server, "GET", "/v1/models/slow")[0] == 200


def test_metadata_and_status_over_grpc(channel: grpc.Channel) -> None:
    """The SignatureDefMap in an Any, and the states of the versions."""
    metadata = call(
        channel,
        METADATA,
        protos.GetModelMetadataRequest(model_spec={"name": "echo"}, metadata_field=["signature_def"]),
    )
    signatures = protos.SignatureDefMap()
    assert metadata.metadata["signature_def"].Unpack(signatures)
    assert "text" in signatures.signature_def

    status = call(channel, STATUS, protos.GetModelStatusRequest(model_spec={"name": "echo"}))
    assert [(v.version, v.state) for v in status.model_version_status] == [
        (7, protos.ModelVersionStatus.State.Value("AVAILABLE"))
    ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["nope"], "Metadata field nope is not supported"),
    ],
)
def test_signature_def_is_the_only_metadata_field(channel: grpc.Channel, fields: list[str], said: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        call(channel, METADATA, protos.GetModelMetadataRequest(model_spec={"name": "echo"}, metadata_field=fields))

    assert refused.value.details() == said


# ---- connections ----
def test_half_open_connections_do_not_affect_others(server: Served) -> None:
    """A body that never arrives, and a client that disconnects in the middle."""
    head = b"POST /v1/models/echo:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
    waiting = [socket.create_connection((server.host, server.rest_port)) for _ in range(50)]
    for connection in waiting:
        connection.sendall(head + b'{"instances": [')
    for connection in waiting[::2]:
        connection.close()

    assert rest(server, "POST", "/v1/models/echo:predict", b'{"instances": [1.0]}')[0] == 200

    for connection in waiting[1::2]:
        connection.close()


def test_model_names_are_not_file_names(server: Served, tmp_path: Path) -> None:
    """Nothing on disk is looked up for them."""
    (tmp_path / "1").mkdir()

    assert rest(server, "GET", f"/v1/models/{str(tmp_path).replace('/', '%2F')}")[0] == 404
