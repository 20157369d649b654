"""HTTP as various clients speak it, and the protocol of each port."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import grpc
import h2.connection
import h2.errors
import h2.events
import pytest
from echo_models import echo_model_flags
from grpc_requests import predict_value
from model_servers import HAS_IPV6, Served, running_flags
from ports import free_ports
from rest_requests import rest
from waiting import wait_for

from tfsctl.server.app.listening import addresses, check_addresses
from tfsctl.server.config.flags import Flags
from tfsctl.server.limits import Limits
from tfsctl.server.status import ServingError

NOT_GRPC = b"this is the gRPC port: its requests are of type application/grpc\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flags that name the echo model."""
    return echo_model_flags(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def server(model: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server."""
    with running_flags(model, tmp_path_factory.mktemp("http")) as running:
        yield running


def raw(server: Served, text: bytes) -> bytes:
    """All bytes of the answer to these bytes, until the server closes the connection."""
    with socket.create_connection((server.host, server.rest_port), timeout=240) as connection:
        connection.sendall(text)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.server
def test_rest_is_on_its_port_only(server: Served) -> None:
    """The gRPC port answers no REST, whatever the method."""
    assert rest(server, "GET", "/v1/models/echo")[0] == 200
    assert rest(server, "GET", "/v1/models/echo", port=server.grpc_port)[:2] == (415, NOT_GRPC)
    body = b'{"instances": [1.5]}'
    assert rest(server, "POST", "/v1/models/echo:predict", body, port=server.grpc_port)[:2] == (415, NOT_GRPC)


@pytest.mark.server
def test_grpc_is_on_its_port_only(server: Served) -> None:
    """The REST port answers no gRPC, whatever the content type."""
    with grpc.insecure_channel(f"{server.host}:{server.rest_port}") as channel, pytest.raises(grpc.RpcError):
        predict_value(channel, timeout=240)
    headers = {"Content-Type": "application/grpc"}
    assert rest(server, "POST", "/v1/models/echo:predict", b'{"instances": [1.5]}', headers)[0] == 200


@pytest.mark.server
def test_with_rest_off_nothing_answers_rest(model: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """`--rest_api_port=0`, the default: the gRPC port does not answer REST either."""
    with running_flags([*model, "--rest_api_port=0"], tmp_path_factory.mktemp("off")) as running:
        assert rest(running, "GET", "/v1/models/echo", port=running.grpc_port)[:2] == (415, NOT_GRPC)


@pytest.mark.server
def test_there_is_no_server_header(server: Served) -> None:
    """As in the real server."""
    assert "server" not in rest(server, "GET", "/v1/models/echo")[2]


@pytest.mark.server
def test_a_request_line_may_have_a_whole_url(server: Served) -> None:
    """As requests through a proxy do."""
    url = b"HTTP://%b:%d/v1/models/echo" % (server.host.encode(), server.rest_port)
    answer = raw(server, b"GET " + url + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"AVAILABLE" in answer


@pytest.mark.server
def test_http_1_0_connections_close_unless_kept_alive(server: Served) -> None:
    """ApacheBench and some proxies speak HTTP/1.0."""
    answer = raw(server, b"GET /v1/models/echo HTTP/1.0\r\n\r\n")
    assert answer[:13] in (b"HTTP/1.0 200 ", b"HTTP/1.1 200 ")
    assert b'"AVAILABLE"' in answer


@pytest.mark.server
@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "CONNECT"])
def test_unknown_methods_are_not_implemented(server: Served, method: str) -> None:
    """501, and the connection closes, as with the real server's HTTP library."""
    answer = raw(server, f"{method} /v1/models/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    if method == "CONNECT" and answer.startswith(b"HTTP/1.1 400 "):
        return  # CONNECT names a host, not a path
    assert answer.startswith(b"HTTP/1.1 501 ")
    assert b"<TITLE>501 Not Implemented</TITLE>" in answer


@pytest.mark.server
@pytest.mark.parametrize("path", ["/v1/models/a%zzb", "/v1/models/a%2", '/v1/models/a"b', "/v1/models/{echo}:predict"])
def test_invalid_uris_are_an_html_400(server: Served, path: str) -> None:
    """Whatever the model."""
    answer = raw(server, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Could not find" not in answer


@pytest.mark.server
def test_model_names_may_have_any_character_of_a_uri(server: Served) -> None:
    """Escaped or not; a question mark with GET."""
    for path, name in (("a%20b", "a b"), ("a+b", "a+b"), ("(x)!", "(x)!"), ("e%C3%A9", "e\u00e9"), ("m?x=1", "m?x=1")):
        status, body, _ = rest(server, "GET", f"/v1/models/{path}")
        assert status == 404
        assert f"of model {name}".encode() in body or name == "e\u00e9"


@pytest.mark.server
def test_paths_with_many_percent_signs_are_matched_quickly(server: Served) -> None:
    """A path is matched in one pass."""
    status, _, _ = rest(server, "GET", "/v1/models/" + "%41" * 5000 + "%")

    assert status == 400


@pytest.mark.server
def test_a_rest_port_in_use_leaves_grpc_served(
    server: Served, model: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """REST is skipped and the log has the reason, as in the real server."""
    folder = tmp_path_factory.mktemp("taken")
    flags = [*model, "--rest_api_port=0", f"--rest_api_port={server.rest_port}"]  # the last one counts
    with (
        running_flags(flags, folder) as running,
        grpc.insecure_channel(f"{running.host}:{running.grpc_port}") as channel,
    ):
        assert predict_value(channel, wait_for_ready=True) == 1.5

    log = (folder / "server.log").read_text()
    assert f"Failed to start HTTP Server at localhost:{server.rest_port}: cannot listen on" in log


@pytest.mark.server
@pytest.mark.parametrize("host", ["0.0.0.0", "localhost"])
def test_the_server_listens_on_the_given_host(
    host: str, model: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By default on all addresses, IPv6 included; a host may be a name."""
    with running_flags([*model, f"--host={host}"], tmp_path_factory.mktemp("host")) as running:
        hosts = ["127.0.0.1", "::1"] if HAS_IPV6 and host == "0.0.0.0" else ["localhost"]
        for one in hosts:
            assert rest(replace(running, host=one), "GET", "/v1/models/echo")[0] == 200
            with grpc.insecure_channel(
                f"[{one}]:{running.grpc_port}" if ":" in one else f"{one}:{running.grpc_port}"
            ) as channel:
                assert predict_value(channel) == 1.5


def test_an_unknown_host_is_refused_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ServingError, match="Failed to BuildAndStart gRPC server"):
        check_addresses(Flags(host="no.such.host.invalid"))
    assert "cannot listen on no.such.host.invalid:8500 (--port): " in caplog.text


def test_equal_ports_are_used_for_grpc(caplog: pytest.LogCaptureFixture) -> None:
    (port,) = free_ports(1)

    assert check_addresses(Flags(host="127.0.0.1", port=port, rest_api_port=port)).rest_api_port == 0
    assert "server_options.http_port cannot be same as grpc_port" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "limits"),
    [
        ("", Limits()),
        ("grpc.max_connection_age_ms=2000", Limits(max_age_s=2.0)),
        ("grpc.max_connection_idle_ms=500", Limits(max_idle_s=0.5)),
        (
            "grpc.keepalive_time_ms=30000,grpc.keepalive_timeout_ms=2500",
            Limits(keepalive_s=30.0, keepalive_timeout_s=2.5),
        ),
        ("grpc.max_concurrent_streams=7,", Limits(max_streams=7)),
        ("grpc.max_concurrent_streams=4294967296", Limits(max_streams=2**31 - 1)),
    ],
)
def test_channel_arguments_set_limits_of_grpc_only(arguments: str, limits: Limits) -> None:
    """On the port and on the socket; REST connections keep their limits."""
    flags = Flags(host="127.0.0.1", rest_api_port=8501, grpc_socket_path="x", grpc_channel_arguments=arguments)
    by_socket, by_port, over_rest = addresses(flags, None)

    assert by_socket.limits == by_port.limits == limits
    assert over_rest.limits == Limits()


def test_channel_arguments_without_effect_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """They are accepted with any value."""
    (port,) = free_ports(1)
    arguments = "grpc.nope=x,grpc.max_connection_age_ms=2000"
    (by_port,) = addresses(check_addresses(Flags(host="127.0.0.1", port=port, grpc_channel_arguments=arguments)), None)

    assert by_port.limits == Limits(max_age_s=2.0)
    assert [record.message for record in caplog.records] == [
        "--grpc_channel_arguments: grpc.nope has no effect here",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("x", "is not name=number"),
        ("grpc.max_connection_age_ms=soon", "is not name=number"),
        ("a=1,b", "is not name=number"),
        ("grpc.max_concurrent_streams=0", "would let no call in"),
    ],
)
def test_invalid_channel_arguments_are_refused_at_the_start(arguments: str, message: str) -> None:
    """The real server would crash."""
    with pytest.raises(ServingError, match=message):
        check_addresses(Flags(port=0, grpc_socket_path="x", grpc_channel_arguments=arguments))


@pytest.mark.server
def test_max_connection_age_closes_connections_gracefully(
    model: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Running and new calls of the client succeed."""
    flags = [*model, "--grpc_channel_arguments=grpc.max_connection_age_ms=300"]
    with (
        running_flags(flags, tmp_path_factory.mktemp("age")) as running,
        grpc.insecure_channel(f"{running.host}:{running.grpc_port}") as channel,
    ):
        ports: set[str] = set()

        def has_come_twice() -> bool:
            assert predict_value(channel) == 1.5
            ports.update(_clients_of(running.grpc_port))
            return len(ports) > 1

        wait_for(has_come_twice)


@pytest.mark.server
@pytest.mark.parametrize("more", ["", ",grpc.keepalive_time_ms=100"])
def test_idle_connections_are_closed(model: list[str], tmp_path_factory: pytest.TempPathFactory, more: str) -> None:
    """With grpc.max_connection_idle_ms, also if the client is still connected."""
    flags = [*model, f"--grpc_channel_arguments=grpc.max_connection_idle_ms=400{more}"]
    with running_flags(flags, tmp_path_factory.mktemp("idle")) as running, _http2(running) as (wire, connection):
        start_s = time.monotonic()
        message = []
        for event in _events(wire, connection):
            message.append(event)
            with suppress(OSError):
                wire.sendall(connection.data_to_send())
        took_s = time.monotonic() - start_s

    codes = [event.error_code for event in message if isinstance(event, h2.events.ConnectionTerminated)]
    assert set(codes) == {h2.errors.ErrorCodes.NO_ERROR}
    assert took_s > 0.3


@pytest.mark.server
def test_keepalive_detects_clients_that_are_gone(model: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """With grpc.keepalive_time_ms, a silent client gets a PING; without an answer, the connection is closed."""
    flags = [*model, "--grpc_channel_arguments=grpc.keepalive_time_ms=200,grpc.keepalive_timeout_ms=300"]
    with running_flags(flags, tmp_path_factory.mktemp("keepalive")) as running, _http2(running) as (wire, connection):
        pings_s = []
        for event in _events(wire, connection):
            if isinstance(event, h2.events.PingReceived):
                pings_s.append(time.monotonic())
            if len(pings_s) < 3:
                wire.sendall(connection.data_to_send())
        ended_s = time.monotonic()

    assert len(pings_s) == 3
    assert (
        ended_s - pings_s[0] > 0.5
    )  # two more pings and the wait for the last answer: 0.7 s, by this busy machine's clock


@contextmanager
def _http2(server: Served) -> Iterator[tuple[socket.socket, h2.connection.H2Connection]]:
    """A connection to the gRPC port after the preface and SETTINGS, and its state."""
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    with socket.create_connection((server.host, server.grpc_port), timeout=240) as wire:
        wire.sendall(connection.data_to_send())
        yield wire, connection


def _events(wire: socket.socket, connection: h2.connection.H2Connection) -> Iterator[h2.events.Event]:
    """The events of a connection until the server closes it. Replies are left in the connection's state."""
    with suppress(ConnectionResetError):
        while data := wire.recv(65536):
            yield from connection.receive_data(data)


def _clients_of(port: int) -> set[str]:
    """The client ports of the connections to a port of this machine (proc(5), net/tcp)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = "01"
    return {row[2] for row in rows if int(row[1].partition(":")[2], 16) == port and row[3] == established}
