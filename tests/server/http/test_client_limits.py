"""Limits on what clients hold: bodies, decompressed bodies, expanded tensors, answers. The server's budget is 16 MiB."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import numpy as np
import pytest
from abusive_clients import others_are_served
from echo_models import echo_model_flags
from http2_client import (
    DEFAULT_WINDOW,
    END_STREAM,
    MAX_WINDOW,
    Client,
    Kind,
    Setting,
    connected,
    frame,
    grpc_fields,
    message,
)
from model_servers import Served, running_flags
from ports import HOST

from tfsctl.core import protos

pytestmark = pytest.mark.server

WAIT_S = 240.0
MIB = 1024 * 1024
BUDGET_MIB = 16
PATH = "/v1/models/echo:predict"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
RESOURCE_EXHAUSTED = "8"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with a small budget."""
    folder = tmp_path_factory.mktemp("budget")
    limits = (f"--max_held_megabytes={BUDGET_MIB}", "--max_header_count=20", "--max_requests_per_connection=50")
    with running_flags([*echo_model_flags(folder), *limits], folder) as running:
        yield running


def begin(server: Served, *lines: str) -> socket.socket:
    """Open a connection and send the head of a POST."""
    connection = socket.create_connection((HOST, server.rest_port), timeout=WAIT_S)
    connection.sendall("\r\n".join((f"POST {PATH} HTTP/1.1", "Host: x", *lines, "", "")).encode())
    return connection


def status(connection: socket.socket) -> int:
    """The status of the answer on a connection; 0 if it is closed without one."""
    with connection, suppress(ConnectionError):
        received = b""
        while b"\r\n" not in received and (data := connection.recv(65_536)):
            received += data
        return int(received.split(b" ", 2)[1]) if received else 0
    return 0


def ask(server: Served, body: bytes, *lines: str) -> int:
    """The status of a POST."""
    connection = begin(server, f"Content-Length: {len(body)}", *lines)
    with suppress(ConnectionError):
        connection.sendall(body)
    return status(connection)


def test_a_body_with_a_too_large_content_length_is_refused_before_it_is_sent(server: Served) -> None:
    assert status(begin(server, f"Content-Length: {BUDGET_MIB * MIB + 1}")) == 413


def test_a_body_without_a_length_is_refused_when_it_exceeds_the_limit(server: Served) -> None:
    connection = begin(server, "Transfer-Encoding: chunked")
    with suppress(ConnectionError):
        for _ in range(BUDGET_MIB + 4):
            connection.sendall(b"100000\r\n" + bytes(MIB) + b"\r\n")
    assert status(connection) in (413, 503)


@pytest.mark.parametrize("is_declared", [True, False])
def test_a_message_above_the_limit_is_resource_exhausted(server: Served, is_declared: bool) -> None:
    """A body that continues after its message is not held either."""
    with others_are_served(server, growth_mb=60), connected(server.grpc_port) as client:
        client.sync()
        stream = client.start(grpc_fields())
        size = 2**30 if is_declared else 0
        client.send_body(stream, b"\0" + size.to_bytes(4, "big") + bytes(40 * MIB), end=False)
        answer = client.answer(stream)
    assert answer.trailers["grpc-status"] == (RESOURCE_EXHAUSTED if is_declared else "13")


def test_bodies_that_never_end_hold_little_memory(server: Served) -> None:
    """Many of them hold no more than one body at the limit, and others are served meanwhile."""

    def send(connection: socket.socket) -> None:
        connection.settimeout(1)
        with suppress(OSError):  # the server may read no more, or refuse
            connection.sendall(bytes(9 * MIB))

    with others_are_served(server, growth_mb=60), ExitStack() as stack, ThreadPoolExecutor(8) as senders:
        bodies = [stack.enter_context(begin(server, f"Content-Length: {10 * MIB}")) for _ in range(8)]
        for sent in [senders.submit(send, connection) for connection in bodies]:
            sent.result()


def test_gzip_bodies_that_unpack_to_too_much_are_refused(server: Served) -> None:
    """Above half of the budget, with the same error as above 100 MB."""
    body = gzip.compress(b" " * (50 * MIB))
    with others_are_served(server, growth_mb=60):
        for _ in range(5):
            assert ask(server, body, "Content-Encoding: gzip") == 400


def test_messages_that_unpack_to_too_much_are_refused(server: Served) -> None:
    """The same for gRPC, with a status of its own."""
    packed = gzip.compress(bytes(50 * MIB))
    with others_are_served(server, growth_mb=60), connected(server.grpc_port) as client:
        streams = [client.start(grpc_fields(grpc_encoding="gzip")) for _ in range(10)]
        for stream in streams:
            client.send_body(stream, b"\1" + len(packed).to_bytes(4, "big") + packed)
        statuses = {client.answer(stream).trailers["grpc-status"] for stream in streams}
    assert statuses == {RESOURCE_EXHAUSTED}


def test_json_bodies_that_decode_to_too_much_are_refused(server: Served) -> None:
    """Three bytes of JSON may be a list of 56 bytes. The decoded size is estimated before anything is decoded."""
    with others_are_served(server, growth_mb=60):
        for element in (b"[],", b'{"x":1},', b"1,"):
            body = b'{"instances": [' + element * (3 * MIB // len(element)) + b'"x"]}'
            assert ask(server, body) == 429


def test_tensors_count_with_their_expanded_size(server: Served) -> None:
    """A few bytes that stand for a large tensor count as that tensor."""
    request = protos.PredictRequest(model_spec={"name": "echo"})
    request.inputs["x"].dtype = 1
    request.inputs["x"].float_val.append(1.0)
    request.inputs["x"].tensor_shape.dim.add(size=4 * MIB)
    raw = request.SerializeToString()
    with others_are_served(server, growth_mb=40), connected(server.grpc_port) as client:
        for _ in range(20):
            stream = client.start(grpc_fields())
            client.send(frame(Kind.DATA, END_STREAM, stream, b"\0" + len(raw).to_bytes(4, "big") + raw))
            assert client.answer(stream).trailers["grpc-status"] == RESOURCE_EXHAUSTED


def test_unread_answers_are_held_within_the_budget(server: Served) -> None:
    """Large answers wait behind a closed window, and bodies wait for their memory until the client reads.

    Without the budget they take 370 MB. A server that has just started grows by 50 MB with its first requests.
    """
    numbers = np.arange(MIB, dtype=np.float32)
    with (
        others_are_served(server, growth_mb=150),
        connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: 0}, opens=False) as client,
    ):
        client.sync()
        body = message(numbers)
        streams = [client.start(grpc_fields()) for _ in range(40)]
        left = client.send_until_it_stalls(dict.fromkeys(streams, body))

        client.configure({Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW})
        client.open(0, MAX_WINDOW - DEFAULT_WINDOW)
        client.send_bodies(left)
        assert all(np.array_equal(client.answer(stream).values(), numbers) for stream in streams)


def start_reflection(client: Client) -> int:
    """Start a reflection stream. Returns its number."""
    return client.start([(name, REFLECTION if name == ":path" else value) for name, value in grpc_fields()])


def test_an_unread_stream_holds_one_window(server: Served) -> None:
    """The server takes one message at a time, so no more than one window of messages piles up."""
    with (
        others_are_served(server, growth_mb=60),
        connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: 0}) as client,
    ):
        client.sync()
        stream = start_reflection(client)
        sent = b"\0\0\0\0\x02\x3a\0" + bytes(40 * MIB)
        left = client.send_until_it_stalls({stream: sent})
        assert len(sent) - len(left[stream]) <= 2 * DEFAULT_WINDOW  # given back once while the first message waits


def test_a_stream_of_many_messages_does_not_delay_others(server: Served) -> None:
    """Two hundred thousand empty messages; the work ends when the client leaves."""
    with others_are_served(server, growth_mb=60):
        with connected(server.grpc_port) as client:
            client.sync()
            stream = start_reflection(client)
            client.send_what_fits(stream, bytes(1_000_000))
            client.wait(lambda: len(client.answers[stream].body) > 10_000)
        with connected(server.grpc_port) as another:
            assert another.works()


def test_too_many_header_fields_are_refused(server: Served) -> None:
    """431 over HTTP/1; over HTTP/2 the stream is reset."""
    many = [(f"x-{number}", "y") for number in range(30)]
    assert ask(server, b"{}", *(f"{name}: {value}" for name, value in many)) == 431
    with connected(server.grpc_port) as client:
        assert client.answer(client.start([*grpc_fields(), *many], end=True)).reset == 11
        assert client.works()


def test_a_connection_closes_after_its_maximum_of_requests(server: Served) -> None:
    """After fifty requests, HTTP/1 says `connection: close` and HTTP/2 sends GOAWAY."""
    body = json.dumps({"instances": [1.5]}).encode()
    request = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    with socket.create_connection((HOST, server.rest_port), timeout=WAIT_S) as connection:
        connection.sendall(request * 60)
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert received.count(b"HTTP/1.1 200") == 50
    assert received.count(b"connection: close") == 1
    with connected(server.grpc_port) as client:
        for stream in [client.ask() for _ in range(50)]:
            assert client.answer(stream).values().tolist() == [1.5]
        client.wait(lambda: bool(client.goaways))
