"""Clients that are too slow: heads, bodies and frames that never end, answers behind a closed window, idle streams."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import cast

import pytest
from echo_models import echo_model_flags
from http2_client import PREFACE, Code, Kind, Setting, connected, frame, grpc_fields, message, settings
from model_servers import Served, running_flags
from ports import HOST

from tfsctl.server.http.timeouts import WriteStall, is_slow_body
from tfsctl.server.limits import Limits

pytestmark = pytest.mark.server

WAIT_S = 240.0
HEAD = b"POST /v1/models/echo:predict HTTP/1.1\r\nHost: x\r\n"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
DEADLINE_EXCEEDED = "4"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose timeouts are one second."""
    folder = tmp_path_factory.mktemp("slow")
    names = ("request_header_timeout", "request_body_timeout", "write_stall_timeout", "stream_idle_timeout")
    timeouts = [f"--{name}_seconds=1" for name in names]
    with running_flags([*echo_model_flags(folder), *timeouts], folder) as running:
        yield running


def received(port: int, data: bytes) -> bytes:
    """The answer to an incomplete request, until the server closes the connection."""
    with socket.create_connection((HOST, port), timeout=WAIT_S) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.mark.parametrize("data", [HEAD, HEAD[:-1], b"G", b"\r\n", HEAD + b"X: " + b"y" * 1000])
def test_a_head_that_never_ends_is_408(server: Served, data: bytes) -> None:
    """And the connection closes."""
    assert received(server.rest_port, data).startswith(b"HTTP/1.1 408 ")


def test_empty_lines_do_not_keep_a_connection_open(server: Served) -> None:
    """They are not the beginning of a request, so its time is up."""
    received, deadline = b"", time.monotonic() + WAIT_S
    with socket.create_connection((HOST, server.rest_port), timeout=0.2) as connection:
        while not received:
            assert time.monotonic() < deadline
            with suppress(TimeoutError):
                connection.sendall(b"\r\n")
                received = connection.recv(65_536)
    assert received.split(b" ")[1] in (b"408", b"400")


@pytest.mark.parametrize("data", [b"", PREFACE[:10]])
def test_silent_connections_are_closed(server: Served, data: bytes) -> None:
    """Without an answer."""
    assert received(server.grpc_port, data) == b""


@pytest.mark.parametrize("line", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_a_body_that_never_ends_is_408(server: Served, line: bytes) -> None:
    """With the reason, and the connection closes."""
    answer = received(server.rest_port, HEAD + line + b"\r\n\r\n5\r\nhello")

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"arrived too slowly" in answer


@pytest.mark.parametrize(
    "data",
    [
        b"",
        settings({}) + frame(Kind.PING, 0, 0, bytes(8))[:12],
        settings({}) + frame(0xBE, 0, 0, bytes(1000))[:100],
        settings({}) + frame(Kind.HEADERS, 0, 1, b"x"),
    ],
    ids=["no SETTINGS", "half a PING", "half an unknown frame", "half a header block"],
)
def test_a_frame_that_never_ends_closes_the_connection(server: Served, data: bytes) -> None:
    """With GOAWAY."""
    answer = received(server.grpc_port, PREFACE + data)

    assert b"took too long" in answer


def test_a_call_whose_body_never_arrives_is_deadline_exceeded(server: Served) -> None:
    """The connection stays open."""
    with connected(server.grpc_port) as client:
        stream = client.start(grpc_fields())
        assert client.answer(stream).trailers["grpc-status"] == DEADLINE_EXCEEDED
        assert client.works()


def test_an_answer_behind_a_closed_window_is_reset(server: Served) -> None:
    """The connection stays open."""
    with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: 0}, opens=False) as client:
        client.sync()
        stream = client.start(grpc_fields())
        client.send_body(stream, message(range(1000)))
        client.wait(lambda: client.answers[stream].is_over)
        assert client.answers[stream].reset == Code.CANCEL


def test_an_idle_reflection_stream_is_deadline_exceeded(server: Served) -> None:
    with connected(server.grpc_port) as client:
        stream = client.start([(name, REFLECTION if name == ":path" else value) for name, value in grpc_fields()])
        assert client.answer(stream).trailers["grpc-status"] == DEADLINE_EXCEEDED


def test_a_body_must_keep_to_a_rate_after_its_grace() -> None:
    """It has its time, and after that has to keep to a rate."""
    limits = Limits(body_grace_s=10, body_bytes_per_s=100)

    assert not is_slow_body(limits, 9.0, 0)
    assert is_slow_body(limits, 11.0, 0)
    assert not is_slow_body(limits, 20.0, 1001)
    assert is_slow_body(limits, 20.1, 1000)
    assert not is_slow_body(Limits(body_grace_s=None), 1e9, 0)


class _Transport:
    """A transport whose write buffer has this size."""

    def __init__(self) -> None:
        self.left = 0

    def get_write_buffer_size(self) -> int:
        """The size of the write buffer in bytes."""
        return self.left


def test_a_client_must_read_more_than_a_few_bytes() -> None:
    """Reading a byte now and then still counts as a stall."""
    transport = _Transport()
    stall = WriteStall(cast("asyncio.Transport", transport))
    seen = []
    for now_s, left in (
        (0, 0),
        (1, 1_000_000),
        (5, 999_999),
        (12, 999_000),
        (13, 800_000),
        (20, 700_000),
        (31, 700_000),
    ):
        transport.left = left
        seen.append(stall.lasts(float(now_s), 10.0))

    assert seen == [False, False, False, True, False, False, True]
    assert not stall.lasts(1000.0, None)
