"""REST on real sockets: correct, unusual and hostile requests, and both protocols on one connection."""

from __future__ import annotations

import gzip
import json
import socket
from pathlib import Path

import pytest
from model_servers import Served
from rest_requests import rest

pytestmark = pytest.mark.server


def test_predict_answers_in_the_form_of_the_request(server: Served) -> None:
    """Rows with `predictions`, columns with `outputs`, as JSON."""
    status, body, headers = rest(server, "POST", "/v1/models/echo:predict", b'{"instances": [1.5, 2]}')

    assert (status, body) == (200, b'{\n    "predictions": [1.5, 2.0\n    ]\n}')
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(body))

    body = rest(server, "POST", "/v1/models/echo/versions/7:predict", b'{"inputs": {"x": [1.5]}}')[1]

    assert json.loads(body) == {"outputs": [1.5]}


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
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
    server: Served, method: str, path: str, status: int, message: str
) -> None:
    """The error has the path as it was sent."""
    body = b'{"instances": [1.0]}' if method in ("POST", "PUT") else None

    assert rest(server, method, path, body)[:2] == (status, f'{{\n    "error": "{message}"\n}}'.encode())


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
        status, message, _ = rest(server, "POST", "/v1/models/echo:predict", body, headers)
        assert (status, json.loads(message)["error"]) == (400, "JSON Parse error: The document is empty")


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
