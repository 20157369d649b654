"""Flags that change responses: cross-origin headers, the REST timeout, and tensors as `tensor_content`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest
from echo_models import echo_model_flags, write_echo_model
from grpc_requests import PREDICT
from model_servers import Served, running_flags, running_server
from rest_requests import rest
from scale_models import write_scale_model

from tfsctl.core import protos, tensors
from tfsctl.server.grpc.tensor_content import fill_content

CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "POST, GET",
    "access-control-allow-headers": "Content-Type",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of an echo model with CORS headers, and tensors as `tensor_content`."""
    folder = tmp_path_factory.mktemp("cors")
    flags = ["--rest_api_enable_cors_support", "--enable_serialization_as_tensor_content"]
    with running_flags([*echo_model_flags(folder), *flags], folder) as running:
        yield running


def cors(headers: dict[str, str]) -> dict[str, str]:
    """The CORS headers of an answer."""
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


@pytest.mark.server
def test_cors_headers_are_on_every_response_of_the_api(server: Served) -> None:
    """Errors included, with or without an Origin; HTML pages have none."""
    origin = {"Origin": "http://example.com"}
    body = b'{"instances": [1.5]}'
    for status, method, path, sent, headers in (
        (200, "POST", "/v1/models/echo:predict", body, origin),
        (200, "POST", "/v1/models/echo:predict", body, {}),
        (200, "GET", "/v1/models/echo", None, {}),
        (404, "GET", "/v1/models/nope", None, {}),
        (400, "PUT", "/v1/models/echo", body, {}),
    ):
        answer = rest(server, method, path, sent, headers)
        assert (answer[0], cors(answer[2])) == (status, CORS), path

    assert cors(rest(server, "GET", "/healthz")[2]) == {}


@pytest.mark.server
def test_preflight_requests_of_sites_are_granted(server: Served) -> None:
    """Any other origin is refused."""
    path = "/v1/models/echo:predict"
    status, body, headers = rest(server, "OPTIONS", path, headers={"Origin": "https://example.com"})
    assert (status, body, cors(headers)) == (200, b"", CORS)

    status, body, headers = rest(server, "OPTIONS", path, headers={"Origin": "null"})
    assert (status, body, cors(headers)) == (400, b"", CORS)
    assert headers["content-type"] == "text/html; charset=ISO-8859-1"

    assert rest(server, "OPTIONS", "/foo", headers={"Origin": "https://example.com"})[0] == 404


@pytest.mark.server
def test_a_model_slower_than_the_rest_timeout_is_504(tmp_path: Path) -> None:
    """In the real server's words."""
    write_scale_model(tmp_path / "slow" / "1", 1.0, matmul_size=5000)
    flags = ["--model_name=slow", f"--model_base_path={tmp_path / 'slow'}", "--rest_api_timeout_in_ms=300"]
    with running_flags(flags, tmp_path) as running:
        status, body, _ = rest(running, "POST", "/v1/models/slow:predict", b'{"instances": [1.5]}')

    assert (status, body) == (504, b'{\n    "error": "Timed out waiting for notification"\n}')


@pytest.mark.server
def test_cors_headers_and_rest_timeout_can_be_off(tmp_path_factory: pytest.TempPathFactory) -> None:
    """CORS headers need a flag, and a REST timeout of 0 means that there is no timeout."""
    folder = tmp_path_factory.mktemp("plain")
    write_echo_model(folder / "echo" / "7")
    with running_server({"echo": folder / "echo"}, folder) as running:
        assert cors(rest(running, "GET", "/v1/models/echo", headers={"Origin": "https://example.com"})[2]) == {}
    flags = ["--model_name=echo", f"--model_base_path={folder / 'echo'}", "--rest_api_timeout_in_ms=0"]
    with running_flags(flags, folder) as running:
        assert rest(running, "POST", "/v1/models/echo:predict", b'{"instances": [1.5]}')[0] == 200


# ---- tensors as bytes ----
@pytest.mark.server
def test_predict_can_write_tensor_content(server: Served) -> None:
    """Tensors of any size, strings included; official clients read it."""
    values = np.array(["a", "", "x" * 300], object)
    request: Any = protos.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "echo", "text"
    request.inputs["text"].CopyFrom(tensors.to_proto(values))
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel:
        call = channel.unary_unary(PREDICT, protos.PredictRequest.SerializeToString, protos.PredictResponse.FromString)
        output = call(request, timeout=240).outputs["text"]

    assert output.tensor_content == b"\x01\x00\xac\x02a" + b"x" * 300
    assert not output.string_val


@pytest.mark.parametrize(
    ("array", "content"),
    [
        (np.array([1.0, -2.5], np.float32), b"\x00\x00\x80?\x00\x00 \xc0"),
        (np.array(7, np.int64), b"\x07" + b"\x00" * 7),
        (np.array([[True, False]]), b"\x01\x00"),
        (np.array([1.0], ml_dtypes.bfloat16), b"\x80?"),
        (np.array([[1, 2], [3, 4]], np.int8).T, b"\x01\x03\x02\x04"),
        (np.zeros((0, 3), np.float32), b""),
    ],
)
def test_numbers_are_written_in_row_major_order(array: np.ndarray, content: bytes) -> None:
    """With the dtype and the shape."""
    proto = protos.TensorProto()
    fill_content(proto, array)

    assert proto.tensor_content == content
    assert proto.HasField("tensor_shape")
    assert [dim.size for dim in proto.tensor_shape.dim] == list(array.shape)
    np.testing.assert_array_equal(tensors.from_proto(proto), array)
