"""Bodies of HTTP/1.1 requests, and answers that are sent before a body has arrived (RFC 9112)."""

from __future__ import annotations

import socket

import pytest
from abusive_clients import others_are_served
from http1_client import (
    CHUNKED,
    CHUNKS,
    ONE,
    STATUS_PATH,
    STOWAWAY,
    Client,
    chunk,
    connected,
    get,
    let_it_read,
    post,
)
from model_servers import Served

pytestmark = pytest.mark.server


@pytest.mark.parametrize(
    "line", ["Content-Length: 20", "CONTENT-LENGTH:20", "Content-Length: \t 20 \t", "Content-Length: 0020"]
)
def test_content_length_delimits_bodies(client: Client, line: str) -> None:
    """The bytes that follow are another request."""
    client.send(post(ONE, line), get())

    assert client.answer().json() == {"predictions": [1.5]}
    assert client.answer().json()["model_version_status"]


@pytest.mark.parametrize("name", CHUNKS)
def test_chunked_bodies_are_read(client: Client, name: str) -> None:
    """All forms, at once and a byte at a time; the next request begins at the end of the body."""
    request = post(CHUNKS[name], CHUNKED)
    client.send(request, get("/v1/models/next"))
    assert client.answer().json() == {"predictions": [1.5]}
    assert b"of model next" in client.answer().body
    client.drip(request, 0.0002)
    assert client.answer().json() == {"predictions": [1.5]}
    assert client.works()


def test_large_bodies_are_read(client: Client) -> None:
    """5 MB, in chunks and with a length."""
    body = b'{"instances": [' + b"1.5," * 1_250_000 + b"2.5]}"
    chunks = [chunk(body[start : start + 100_000]) for start in range(0, len(body), 100_000)]
    for request in (post(body), post(b"".join(chunks) + chunk(b"") + b"\r\n", "Transfer-Encoding: Chunked")):
        client.send(request)
        predictions = client.answer().json()["predictions"]
        assert (len(predictions), predictions[-1]) == (1_250_001, 2.5)
    assert client.works()


@pytest.mark.parametrize("is_chunked", [False, True])
def test_expect_100_continue_is_answered_before_the_body(client: Client, is_chunked: bool) -> None:
    """Once, and before the answer."""
    body, lines = ONE, [f"Content-Length: {len(ONE)}"]
    if is_chunked:
        body, lines = CHUNKS["of a byte"], [CHUNKED]
    for _ in range(3):
        client.send(post(b"", "Expect: 100-Continue", *lines))
        assert client.answer().status == 100
        client.send(body)
        assert client.answer().json() == {"predictions": [1.5]}
    assert client.works()


def test_expect_100_continue_may_be_unanswered_if_the_body_is_there(server: Served, client: Client) -> None:
    """HTTP/1.0 clients never get 100 (RFC 9110, section 10.1.1)."""
    client.send(post(ONE, "Expect: 100-continue"), get())
    answer = client.answer()
    assert (client.answer() if answer.status == 100 else answer).json() == {"predictions": [1.5]}
    assert client.answer().json()["model_version_status"]
    client.send(post(b"", "Expect: 100-continue", f"Content-Length: {len(ONE)}", version="1.0"))
    let_it_read(server)
    client.send(ONE)
    assert client.answer().json() == {"predictions": [1.5]}


def test_other_expectations_are_refused_or_ignored(client: Client) -> None:
    """417, or no effect."""
    client.send(post(ONE, "Expect: a-miracle"))

    assert client.answer().status in (200, 417)


def test_a_final_answer_may_replace_100_continue(server: Served) -> None:
    """What follows is then not a body, or the connection closes."""
    with connected(server.grpc_port) as client:
        client.send(post(b"", "Expect: 100-continue", "Content-Length: 20"))
        answer = client.answer()
        if answer.status == 100:
            client.send(ONE)
            answer = client.answer()
        assert answer.status == 415


@pytest.mark.parametrize(
    ("method", "port", "status"), [("POST", "gRPC", 415), ("TRACE", "REST", 501), ("PUT", "REST", 400)]
)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_answer_may_come_before_the_body(
    server: Served, method: str, port: str, status: int, is_chunked: bool
) -> None:
    """It arrives, and the rest of the body is never taken for a request."""
    pieces = [STOWAWAY * 2200] * 100  # 10 MB
    with connected(server.grpc_port if port == "gRPC" else server.rest_port) as client:
        length = CHUNKED if is_chunked else f"Content-Length: {sum(map(len, pieces))}"
        client.send(get(STATUS_PATH, length, method=method))
        for number, piece in enumerate(pieces):
            client.try_send(chunk(piece) if is_chunked else piece)
            if number < 20:
                let_it_read(server)
        client.try_send(b"0\r\n\r\n" if is_chunked else b"")
        answer = client.answer()
        assert answer.status == status
        if answer.is_last:
            assert client.is_over()
        elif port == "gRPC":
            client.send(get())
            assert client.answer().status == status
        else:
            assert client.works()


EARLY = [("POST", "gRPC", ""), ("PURGE", "REST", ""), ("TRACE", "REST", CHUNKED), ("CONNECT", "REST", "")]


@pytest.mark.parametrize(("method", "port", "line"), EARLY)
@pytest.mark.parametrize("is_split", [True, False])
def test_the_rest_of_a_body_is_not_a_request_after_an_early_answer(
    server: Served, method: str, port: str, line: str, is_split: bool
) -> None:
    """The connection closes, also if the server has cached the head of what looks like a request."""
    number = server.grpc_port if port == "gRPC" else server.rest_port
    with connected(number) as client:
        client.send(STOWAWAY)  # its head is cached from now on
        client.answer()
    with connected(number) as client:
        client.send(get(STATUS_PATH, line or f"Content-Length: {5 + len(STOWAWAY)}", method=method))
        if is_split:
            early = client.answer()
            client.try_send(STOWAWAY)
        else:
            client.try_send(STOWAWAY)  # five bytes short of a whole body
            early = client.answer()
        assert early.status in (415, 501)
        assert early.is_last
        assert client.is_over()


def test_an_ignored_upgrade_does_not_affect_the_next_request(client: Client) -> None:
    """Each request is answered once."""
    client.send(get("/v1/models/first", "Connection: Upgrade", "Upgrade: x"))
    assert client.answer().status == 404
    client.send(get("a:80", method="CONNECT"), STOWAWAY)
    assert client.answer().status == 501
    assert client.is_over()


def test_clients_may_disconnect_at_any_moment(server: Served) -> None:
    """In a head, a body or a chunk, or before the answer; other clients are not affected."""
    request = post(CHUNKS["of a byte"], CHUNKED) + post()
    with others_are_served(server, growth_mb=10):
        for end in range(1, len(request), 2):
            with connected(server.rest_port) as client:
                client.send(request[:end])


@pytest.mark.parametrize("line", ["Content-Length: 20", CHUNKED])
def test_a_request_that_ends_within_its_body_is_dropped(server: Served, line: str) -> None:
    """Also if its client, which sends no more, waits for the answer to the request before it."""
    truncated = get("/v1/models/echo:predict", line, method="POST") + b"5\r\n{"
    with connected(server.rest_port) as client:
        client.send(post() + truncated)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.answer().status == 200
        assert client.is_over()  # without the 408 that a slow body gets
