"""Flags that change REST answers: cross-origin headers, and the REST timeout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from echo_models import echo_model_flags, write_echo_model
from model_servers import Served, running_flags, running_server
from rest_requests import rest
from scale_models import write_scale_model

CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "POST, GET",
    "access-control-allow-headers": "Content-Type",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of an echo model with CORS headers."""
    folder = tmp_path_factory.mktemp("cors")
    with running_flags([*echo_model_flags(folder), "--rest_api_enable_cors_support"], folder) as running:
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
