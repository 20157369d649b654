"""HTTP as clients of all kinds speak it, and each port's own protocol, under both runtimes."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from echo_models import write_echo_model
from model_servers import HAS_IPV6, Served, free_ports, running_flags
from runtimes import RUNTIMES, environment, predict, rest

from tfsctl.server.envoy_config import envoy_config
from tfsctl.server.flags import Flags
from tfsctl.server.listening import settled
from tfsctl.server.status import ServingError

NOT_GRPC = b"this is the gRPC port: its requests are of type application/grpc\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flags that name the echo model."""
    base = tmp_path_factory.mktemp("models") / "echo"
    write_echo_model(base / "7")
    return ["--model_name=echo", f"--model_base_path={base}"]


@pytest.fixture(scope="module", params=RUNTIMES)
def server(
    request: pytest.FixtureRequest, model: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The server under each runtime."""
    under = environment(request.param)
    with running_flags(model, tmp_path_factory.mktemp(request.param), under) as running:
        yield running


def raw(server: Served, text: bytes) -> bytes:
    """All that comes back for these bytes, until the server closes the connection."""
    with socket.create_connection((server.host, server.rest_port), timeout=10) as connection:
        connection.sendall(text)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_rest_is_on_its_port_only(server: Served) -> None:
    """The gRPC port answers no REST, whatever the method."""
    assert rest(server, "GET", "/v1/models/echo")[0] == 200
    assert rest(server, "GET", "/v1/models/echo", port=server.grpc_port)[:2] == (415, NOT_GRPC)
    body = b'{"instances": [1.5]}'
    assert rest(server, "POST", "/v1/models/echo:predict", body, port=server.grpc_port)[:2] == (415, NOT_GRPC)


def test_grpc_is_on_its_port_only(server: Served) -> None:
    """On the REST port there is no gRPC; a content type changes nothing there."""
    with grpc.insecure_channel(f"{server.host}:{server.rest_port}") as channel, pytest.raises(grpc.RpcError):
        predict(channel, timeout=5)
    headers = {"Content-Type": "application/grpc"}
    assert rest(server, "POST", "/v1/models/echo:predict", b'{"instances": [1.5]}', headers)[0] == 200


def test_with_rest_off_nothing_answers_rest(model: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """`--rest_api_port=0`, the default: not even on the gRPC port."""
    with running_flags([*model, "--rest_api_port=0"], tmp_path_factory.mktemp("off")) as running:
        assert rest(running, "GET", "/v1/models/echo", port=running.grpc_port)[:2] == (415, NOT_GRPC)


def test_no_software_is_named(server: Served) -> None:
    """As in the real server there is no `server` header."""
    assert "server" not in rest(server, "GET", "/v1/models/echo")[2]


def test_a_whole_url(server: Served) -> None:
    """A request may name the server in its first line, as one that went through a proxy does."""
    url = b"HTTP://%b:%d/v1/models/echo" % (server.host.encode(), server.rest_port)
    answer = raw(server, b"GET " + url + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"AVAILABLE" in answer


def test_http_1_0(server: Served) -> None:
    """ApacheBench and proxies speak it: the answer comes, and the connection closes unless it is to be kept."""
    answer = raw(server, b"GET /v1/models/echo HTTP/1.0\r\n\r\n")
    assert answer[:13] in (b"HTTP/1.0 200 ", b"HTTP/1.1 200 ")
    assert b'"AVAILABLE"' in answer


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "CONNECT"])
def test_methods_that_are_none_of_ours(server: Served, method: str) -> None:
    """501 and the connection closes, as the real server's HTTP library has it."""
    answer = raw(server, f"{method} /v1/models/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    if method == "CONNECT" and answer.startswith(b"HTTP/1.1 400 "):
        return  # Envoy's own answer: CONNECT names a host, not a path
    assert answer.startswith(b"HTTP/1.1 501 ")
    assert b"<TITLE>501 Not Implemented</TITLE>" in answer


@pytest.mark.parametrize("path", ["/v1/models/a%zzb", "/v1/models/a%2", '/v1/models/a"b', "/v1/models/{echo}:predict"])
def test_what_is_no_uri(server: Served, path: str) -> None:
    """400 with an HTML page, before any model is looked for."""
    answer = raw(server, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Could not find" not in answer


def test_names_may_hold_what_a_uri_may(server: Served) -> None:
    """Escaped or not, and a question mark on GET."""
    for path, name in (("a%20b", "a b"), ("a+b", "a+b"), ("(x)!", "(x)!"), ("e%C3%A9", "e\u00e9"), ("m?x=1", "m?x=1")):
        status, body, _ = rest(server, "GET", f"/v1/models/{path}")
        assert status == 404
        assert f"of model {name}".encode() in body or name == "e\u00e9"


def test_many_percent_signs_take_no_time(server: Served) -> None:
    """A path is matched in one pass."""
    status, _, _ = rest(server, "GET", "/v1/models/" + "%41" * 5000 + "%")

    assert status == 400


def test_grpc_goes_on_where_rest_cannot(
    server: Served, model: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A REST port in use is skipped, and the log says so: the real server's habit."""
    folder = tmp_path_factory.mktemp("taken")
    flags = [*model, "--rest_api_port=0", f"--rest_api_port={server.rest_port}"]  # the last one counts
    with (
        running_flags(flags, folder) as running,
        grpc.insecure_channel(f"{running.host}:{running.grpc_port}") as channel,
    ):
        assert predict(channel, wait_for_ready=True) == 1.5

    log = (folder / "server.log").read_text()
    assert f"Failed to start HTTP Server at localhost:{server.rest_port}: cannot listen on" in log


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("host", ["0.0.0.0", "localhost"])
def test_hosts(runtime: str, host: str, model: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """By default the server listens everywhere, over IPv6 too where there is any; a host may be a name."""
    under = environment(runtime)
    with running_flags([*model, f"--host={host}"], tmp_path_factory.mktemp("host"), under) as running:
        hosts = ["127.0.0.1", "::1"] if HAS_IPV6 and host == "0.0.0.0" else ["localhost"]
        for one in hosts:
            assert rest(replace(running, host=one), "GET", "/v1/models/echo")[0] == 200
            with grpc.insecure_channel(
                f"[{one}]:{running.grpc_port}" if ":" in one else f"{one}:{running.grpc_port}"
            ) as channel:
                assert predict(channel) == 1.5


def test_a_host_that_is_none(caplog: pytest.LogCaptureFixture) -> None:
    """Said before anything starts."""
    with pytest.raises(ServingError, match="Failed to BuildAndStart gRPC server"):
        settled(Flags(host="no.such.host.invalid"))
    assert "cannot listen on no.such.host.invalid:8500 (--port): " in caplog.text


def test_one_port_for_both(caplog: pytest.LogCaptureFixture) -> None:
    """It is gRPC's."""
    (port,) = free_ports(1)

    assert settled(Flags(host="127.0.0.1", port=port, rest_api_port=port)).rest_api_port == 0
    assert "server_options.http_port cannot be same as grpc_port" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ("grpc.max_connection_age_ms=2000", {"max_connection_duration": "2.000s"}),
        ("grpc.max_connection_idle_ms=500,grpc.nope=x", {"idle_timeout": "0.500s"}),
    ],
)
def test_channel_arguments(arguments: str, options: dict[str, str]) -> None:
    """Those that Envoy has a word for reach it; others are taken, and have no effect."""
    pytest.importorskip("pyvoy")
    config = envoy_config("app", Flags(grpc_channel_arguments=arguments), None, "")
    (listener,) = config["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]

    assert manager["common_http_protocol_options"] == options


@pytest.mark.parametrize("arguments", ["x", "grpc.max_connection_age_ms=soon", "a=1,b"])
def test_what_is_no_channel_argument(arguments: str) -> None:
    """Refused at the start; the real server would crash."""
    with pytest.raises(ServingError, match="is not name=number"):
        settled(Flags(port=0, grpc_socket_path="x", grpc_channel_arguments=arguments))


def test_connections_grow_old(model: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """With grpc.max_connection_age_ms a client is sent away after that time, and its calls do not notice."""
    environment("pyvoy")
    flags = [*model, "--grpc_channel_arguments=grpc.max_connection_age_ms=300"]
    with (
        running_flags(flags, tmp_path_factory.mktemp("age")) as running,
        grpc.insecure_channel(f"{running.host}:{running.grpc_port}") as channel,
    ):
        ports = set()
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert predict(channel) == 1.5
            ports |= _clients_of(running.grpc_port)

    assert len(ports) > 1


def _clients_of(port: int) -> set[str]:
    """The ports at the other end of the connections to a port of this machine (proc(5), net/tcp)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = "01"
    return {row[2] for row in rows if int(row[1].partition(":")[2], 16) == port and row[3] == established}
