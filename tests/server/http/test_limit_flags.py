"""Flags of limits: each reaches the part of the server that keeps to it, and 0 is no limit."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest
from echo_models import echo_model_flags
from http2_client import message
from model_servers import Served, running_flags
from ports import HOST
from raw_grpc import call
from rest_requests import rest

from tfsctl.server.app.listening import addresses
from tfsctl.server.config.flags import Flags
from tfsctl.server.limits import Limits

_WAIT_S = 240.0
_MAX_CONNECTIONS = 20
_REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
_UNIMPLEMENTED, _RESOURCE_EXHAUSTED = 12, 8
_GET = b"GET /v1/models/echo HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with low limits."""
    flags = (
        "--enable_reflection=false",
        "--max_body_bytes=1000",
        "--max_header_bytes=2000",
        f"--max_connections_per_peer={_MAX_CONNECTIONS}",
    )
    folder = tmp_path_factory.mktemp("limits")
    with running_flags([*echo_model_flags(folder), *flags], folder) as running:
        yield running


@pytest.mark.server
def test_reflection_can_be_off(server: Served) -> None:
    assert call(server.grpc_port, bytes(5), path=_REFLECTION).result == _UNIMPLEMENTED


@pytest.mark.server
def test_larger_bodies_are_refused_on_both_ports(server: Served) -> None:
    small, large = (b'{"instances": [1.0]%b}' % (b" " * count) for count in (0, 1000))
    assert [rest(server, "POST", "/v1/models/echo:predict", body)[0] for body in (small, large)] == [200, 413]
    calls = [message([1.0] * count) for count in (100, 1000)]
    assert [call(server.grpc_port, body).result for body in calls] == [0, _RESOURCE_EXHAUSTED]


@pytest.mark.server
@pytest.mark.parametrize(("size", "status"), [(1000, b" 200 "), (3000, b" 431 ")])
def test_larger_header_sections_are_refused(server: Served, size: int, status: bytes) -> None:
    with socket.create_connection((HOST, server.rest_port), timeout=_WAIT_S) as connection:
        connection.sendall(_GET + b"X: %b\r\n\r\n" % (b"y" * size))
        assert status in connection.recv(65_536)


@pytest.mark.server
def test_further_connections_of_one_address_are_closed(server: Served) -> None:
    """Until it closes some of the others."""
    with ExitStack() as stack:
        served = 0
        while served <= _MAX_CONNECTIONS:
            connection = stack.enter_context(socket.create_connection((HOST, server.rest_port), timeout=_WAIT_S))
            with suppress(ConnectionError):
                connection.sendall(_GET + b"\r\n")
                if not connection.recv(65_536):
                    break
                served += 1
                continue
            break
    assert 0 < served <= _MAX_CONNECTIONS
    while True:
        with suppress(OSError):
            assert rest(server, "GET", "/v1/models/echo")[0] == 200
            break


def _limits(**flags: int) -> Limits:
    (address,) = addresses(Flags(port=1, **flags), None)  # type: ignore[arg-type]
    return address.limits


@pytest.mark.parametrize(
    ("flag", "field"),
    [
        ("max_header_bytes", "max_header_bytes"),
        ("max_header_count", "max_header_count"),
        ("max_connections_per_peer", "max_connections_per_peer"),
        ("max_requests_per_connection", "max_requests_per_connection"),
        ("request_header_timeout_seconds", "header_timeout_s"),
        ("request_body_timeout_seconds", "body_grace_s"),
        ("min_request_body_bytes_per_second", "body_bytes_per_s"),
        ("write_stall_timeout_seconds", "write_stall_timeout_s"),
    ],
)
def test_each_flag_sets_one_limit(flag: str, field: str) -> None:
    assert _limits(**{flag: 7}) == replace(Limits(), **{field: 7})  # type: ignore[arg-type]


def test_zero_is_no_limit() -> None:
    """Of sizes and counts the largest that a header may announce."""
    assert _limits(max_header_bytes=0).max_header_bytes == 2**31 - 1
    assert _limits(max_header_count=0).max_header_count == 2**31 - 1
    assert _limits(max_connections_per_peer=0).max_connections_per_peer == 2**31 - 1
    assert _limits(max_requests_per_connection=0).max_requests_per_connection is None
    assert _limits(request_header_timeout_seconds=0).header_timeout_s is None
    assert _limits(request_body_timeout_seconds=0).body_grace_s is None
    assert _limits(min_request_body_bytes_per_second=0).body_grace_s is None
    assert _limits(write_stall_timeout_seconds=0).write_stall_timeout_s is None
