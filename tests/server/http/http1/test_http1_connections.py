"""Connections over HTTP/1.1 (RFC 9112): many requests, repeated and pipelined ones, and clients that abuse them."""

from __future__ import annotations

import json

import pytest
from abusive_clients import deaf, flooded, others_are_served
from http1_client import (
    CHUNKED,
    ONE,
    STATUS_PATH,
    STOWAWAY,
    WAIT_S,
    Client,
    chunk,
    connected,
    get,
    get_with_line,
    let_it_read,
    post,
)
from model_servers import Served

pytestmark = pytest.mark.server


def test_a_connection_serves_many_requests(client: Client) -> None:
    """With and without bodies; no answer closes the connection."""
    for number in range(300):
        client.send(post(b'{"instances": [%d]}' % number) if number % 3 else get())
        answer = client.answer()
        assert answer.json()["predictions"] == [number] if number % 3 else "AVAILABLE" in str(answer.json())
        assert (answer.version, answer.is_last) == ("1.1", False)


def test_repeated_heads_are_served_by_their_own_body_and_port(server: Served, client: Client) -> None:
    """The cache of heads does not mix up what follows an equal head."""
    one, two, many = (b'{"instances": [%d]}' % number for number in (1, 2, 1234))
    head = post(two)[: -len(two)]

    def answered() -> list[float]:
        predictions: list[float] = client.answer().json()["predictions"]
        return predictions

    for body in (one, two, one):
        client.send(head, body)
        assert answered() == json.loads(body)["instances"]
    client.send(head, one[:-2])
    let_it_read(server)
    client.send(one[-2:], head, two, post(many), head, one)
    assert [answered() for _ in range(4)] == [[1], [2], [1234], [1]]
    client.send(head)
    let_it_read(server)
    client.send(two)
    assert answered() == [2]
    with connected(server.grpc_port) as other:
        other.send(head, one)
        assert other.answer().status == 415
    with connected(server.rest_port) as last:
        last.send(head, two, post(one, "Connection: close"), head, one)
        assert [last.answer().json()["predictions"] for _ in range(2)] == [[2], [1]]
        assert last.is_over()
    client.send(head, b'{"instances": 1', head)  # as long as it says, and no JSON; then what is cut short
    assert client.answer().status == 400


def test_the_grpc_port_refuses_http1_requests(server: Served) -> None:
    """The connection then stays open or closes."""
    with connected(server.grpc_port) as client:
        client.send(get())
        answer = client.answer()
        assert answer.status == 415
        if not answer.is_last:
            client.send(post())
            assert client.answer().status == 415


def test_pipelined_requests_are_answered_in_order(client: Client) -> None:
    """Fifty in one packet."""
    requests = []
    for number in range(50):
        if number % 10 == 0:  # these are read in a thread, and outlast the ones after them
            body = b'{"instances": [%b%d]}' % (b"1," * 100_000, number)
        else:
            body = b'{"instances": [%d]}' % number
        requests.append(post(body) if number % 2 == 0 else get(f"/v1/models/m{number}"))
    client.send(*requests)

    for number in range(50):
        answer = client.answer()
        if number % 2 == 0:
            assert answer.json()["predictions"][-1] == number
        else:
            assert f"Could not find any versions of model m{number}".encode() in answer.body
    assert client.works()


def test_pipelined_requests_may_be_cut_anywhere(client: Client) -> None:
    """Wherever the pieces begin and end."""
    data = b"".join(post(b'{"instances": [%d]}' % number) for number in range(40))
    for size in (7, 1000):
        for start in range(0, len(data), size):
            client.send(data[start : start + size])
        assert [client.answer().json()["predictions"] for _ in range(40)] == [[number] for number in range(40)]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "PROPFIND", "PRI"])
def test_requests_may_arrive_a_byte_at_a_time(client: Client, method: str) -> None:
    """Also if they begin like the preface of HTTP/2."""
    client.drip(get(method=method) if method in ("GET", "PRI") else post(method=method))

    status = client.answer().status
    expected = {"GET": (200,), "POST": (200,), "PROPFIND": (400, 501), "PRI": (400, 501, 505)}
    assert status in expected.get(method, (400, 405))


def test_empty_lines_before_a_request_are_ignored(client: Client) -> None:
    """At least one (section 2.2): some clients send one after a body."""
    client.send(b"\r\n", get(), b"\r\n", post(), b"\r\n", get())

    assert [client.answer().status for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize("line", ["Connection: close", "connection:CLOSE", "Connection: x-other , close"])
def test_connection_close_ends_the_connection(client: Client, line: str) -> None:
    """Later requests are not answered, and the answer has `connection: close` (section 9.6)."""
    client.send(get(), get(STATUS_PATH, line), STOWAWAY)

    assert not client.answer().is_last
    answer = client.answer()
    assert (answer.status, answer.is_last) == (200, True)
    assert client.is_over()


@pytest.mark.parametrize("line", ["X: y", "Connection: keep-alive", "Connection: Keep-Alive, x"])
def test_http_1_0_connections_close_unless_kept_alive(client: Client, line: str) -> None:
    """If the client asks to keep it, the server says that it does."""
    client.send(post(ONE, line, version="1.0"))
    answer = client.answer()

    assert answer.json() == {"predictions": [1.5]}
    assert "transfer-encoding" not in answer.headers
    if "keep-alive" not in answer.headers.get("connection", "").lower():
        assert client.is_over()
        return
    assert "keep-alive" in line.lower()
    client.send(get(version="1.0"))
    assert client.answer().json()
    assert client.is_over()


def test_head_is_answered_without_a_body(client: Client) -> None:
    """The next answer begins right after the header fields."""
    client.send(get("/v1/models/nope", method="HEAD"), get("/v1/models/nope", method="PUT"), get("/nope"))
    headers, like = client.answer(head=True), client.answer()
    assert client.answer().status == 404
    assert headers.status == like.status
    assert headers.headers.keys() <= like.headers.keys()
    client.send(get("/nope", method="HEAD"), get("/nope"))
    headers, like = client.answer(head=True), client.answer()
    assert headers.status == like.status == 404
    assert headers.headers.get("content-length", like.headers["content-length"]) == like.headers["content-length"]
    assert headers.headers["content-type"] == like.headers["content-type"]


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.0"])
def test_upgrades_are_ignored(client: Client, upgrade: str) -> None:
    """As RFC 9110, section 7.8, allows: the answer comes over HTTP/1.1, also to a request with a body."""
    lines = (f"Upgrade: {upgrade}", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
    client.send(get(STATUS_PATH, *lines), post(ONE, *lines), get())

    assert client.answer().json()["model_version_status"]
    assert client.answer().json() == {"predictions": [1.5]}
    assert client.answer().json()["model_version_status"]


HUGE: dict[str, tuple[bytes, set[int]]] = {
    "a header line": (get_with_line(b"X: " + b"y" * 1_000_000), {400, 431}),
    "a header line without an end": (get_with_line(b"X: " + b"y" * 1_000_000)[:-4], {400, 431}),
    "a name": (get_with_line(b"X" * 1_000_000 + b": y"), {400, 431}),
    "many header lines": (get_with_line(b"\r\n".join(b"X-%d: y" % number for number in range(100_000))), {400, 431}),
    "a path": (get("/v1/models/" + "m" * 100_000), {400, 414, 431}),
    "a path without an end": (b"GET /v1/models/" + b"m" * 1_000_000, {400, 414, 431}),
    "a method": (b"G" * 1_000_000, {400, 414, 431, 501}),
    "trailers": (post(chunk(ONE) + b"0\r\n" + b"X: y\r\n" * 400_000 + b"\r\n", CHUNKED), {200, 400, 413, 431}),
    "an extension": (post(chunk(ONE, b";" + b"x" * 2_000_000) + b"0\r\n\r\n", CHUNKED), {200, 400, 413, 431}),
}


@pytest.mark.parametrize("name", HUGE)
def test_too_large_heads_are_refused(server: Served, client: Client, name: str) -> None:
    """A megabyte of anything but a body is refused and closes the connection, or is not held."""
    request, statuses = HUGE[name]
    with others_are_served(server, growth_mb=20):
        client.try_send(request)
        answer = client.answer()
        assert answer.status in statuses
        if answer.status == 200:
            assert client.works()
        else:
            assert client.is_over()


def test_heads_of_16_kb_are_accepted(client: Client) -> None:
    """And a path of 4 kB."""
    lines = [f"X-{number}: {'y' * 150}" for number in range(100)]
    client.send(post(ONE, *lines), get("/v1/models/" + "m" * 4000))

    assert client.answer().json() == {"predictions": [1.5]}
    assert b"Could not find any versions of model mmm" in client.answer().body


def test_unread_answers_stop_the_reading_of_requests(server: Served) -> None:
    """The server holds little for a client that sends requests and reads no answers."""
    name = "m" * 4000
    requests = get(f"/v1/models/{name}") * 20
    with others_are_served(server, growth_mb=30), deaf(server.rest_port) as connection:
        assert flooded(connection, requests, 40_000_000) < 40_000_000


def test_unread_large_answers_stop_the_reading_of_requests(server: Served) -> None:
    """Answers of half a megabyte; all of them arrive when the client reads in the end."""
    request, limit = post(b'{"instances": [%b1]}' % (b"1," * 100_000)), 60_000_000
    with others_are_served(server, growth_mb=40), connected(server.rest_port) as client:
        sent = flooded(client.socket, request, limit)
        assert sent < limit
        client.socket.settimeout(WAIT_S)
        answers = [client.answer() for _ in range(sent // len(request))]
    assert all(answer.json()["predictions"] == [1] * 100_001 for answer in answers[-2:])
    assert {answer.status for answer in answers} == {200}


def test_unread_errors_hold_little_memory(server: Served) -> None:
    """Thousands of connections end with an error that the client does not read."""
    with others_are_served(server, growth_mb=20):
        for _ in range(1000):
            with connected(server.rest_port) as client:
                client.send(b"what?\r\n\r\n" * 10)
