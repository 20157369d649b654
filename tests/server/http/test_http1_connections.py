"""The server as an HTTP/1.1 peer (RFC 9112), tested byte by byte: usual, unusual and hostile requests."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from abusive_clients import deaf, flooded, others_are_served
from model_servers import Served
from ports import HOST

pytestmark = pytest.mark.server

WAIT_S = 240.0  # what has not come by then never comes
STATUS_PATH = "/v1/models/echo"
PREDICT_PATH = "/v1/models/echo:predict"
ONE = b'{"instances": [1.5]}'
STOWAWAY = b"GET /v1/models/stowaway HTTP/1.1\r\nHost: x\r\n\r\n"  # in a body, or after what ends a connection
CHUNKED = "Transfer-Encoding: chunked"


class ClosedError(Exception):
    """The server has closed the connection."""


@dataclass(frozen=True)
class Answer:
    """One response; the names of its header fields are in lower case."""

    version: str
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body of a JSON answer."""
        assert self.status == 200, self
        return json.loads(self.body)

    @property
    def is_last(self) -> bool:
        """Whether the answer says that the connection closes after it."""
        return "close" in self.headers.get("connection", "").lower()


class Client:
    """A connection that checks the framing of answers (RFC 9112)."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=WAIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()

    def send(self, *parts: bytes) -> None:
        """Send the parts at once."""
        self.socket.sendall(b"".join(parts))

    def try_send(self, *parts: bytes) -> None:
        """Send data, after which the server may close the connection."""
        with suppress(ConnectionError):
            self.send(*parts)

    def drip(self, data: bytes, pause_s: float = 0.0005) -> None:
        """Send one byte at a time."""
        for number in range(len(data)):
            self.send(data[number : number + 1])
            time.sleep(pause_s)

    def answer(self, *, head: bool = False) -> Answer:
        """The next answer, to a HEAD request or another."""
        start, *lines = self._until(b"\r\n\r\n").decode("ascii").split("\r\n")
        match = re.fullmatch(r"HTTP/(1\.[01]) (\d{3}) [ -~]*", start)
        assert match, start
        fields = [re.fullmatch(r"([!#-'*+.^-z|~-]+):[ \t]*([ -~]*?)[ \t]*", line) for line in lines]
        assert all(fields), lines
        headers = {field[1].lower(): field[2] for field in fields if field}
        assert len(headers) == len(fields), lines
        status = int(match[2])
        body = b"" if head or status // 100 == 1 or status in (204, 304) else self._body(headers)
        return Answer(match[1], status, headers, body)

    def is_over(self) -> bool:
        """Whether the server closes the connection without another byte. Waits for the end."""
        with suppress(ClosedError):
            self._until_count(1)
            return False
        return not self._received

    def works(self) -> bool:
        """Whether the server answers on this connection."""
        self.send(get("/v1/models/works"))
        return b"Could not find any versions of model works" in self.answer().body

    def _body(self, headers: dict[str, str]) -> bytes:
        if "transfer-encoding" in headers:
            assert headers["transfer-encoding"].lower() == "chunked"
            assert "content-length" not in headers
            return self._chunks()
        if "content-length" in headers:
            return self._take(int(headers["content-length"]))
        assert "close" in headers["connection"].lower()  # the only other way to tell where it ends
        with suppress(ClosedError):
            self._until_count(2**62)
        return self._take(len(self._received))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self._take(size)
            assert self._take(2) == b"\r\n"
        while self._until(b"\r\n"):
            pass
        return body

    def _until(self, mark: bytes) -> bytes:
        while (end := self._received.find(mark)) < 0:
            self._receive()
        text = self._take(end)
        self._take(len(mark))
        return text

    def _until_count(self, count: int) -> None:
        while len(self._received) < count:
            self._receive()

    def _take(self, count: int) -> bytes:
        self._until_count(count)
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    def _receive(self) -> None:
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionError:
            data = b""
        if not data:
            raise ClosedError(bytes(self._received))
        self._received += data


def get(path: str = STATUS_PATH, *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request without a body."""
    return "\r\n".join((f"{method} {path} HTTP/{version}", "Host: x", *lines, "", "")).encode("latin-1")


def post(body: bytes = ONE, *lines: str, path: str = PREDICT_PATH, method: str = "POST", version: str = "1.1") -> bytes:
    """A request with a body, and with its Content-Length unless other lines give the length."""
    said = any(line.lower().startswith(("content-length", "transfer-encoding")) for line in lines)
    length = [] if said else [f"Content-Length: {len(body)}"]
    return get(path, *length, *lines, method=method, version=version) + body


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    """A chunk of a body; the last one has no data."""
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data) if data else b"0%b\r\n" % extension


@contextmanager
def connected(port: int) -> Iterator[Client]:
    """A client, connected for as long as the block runs."""
    client = Client(port)
    try:
        yield client
    finally:
        client.socket.close()


def let_it_read(server: Served) -> None:
    """Wait until the server has read what was sent: a round trip on another connection."""
    with connected(server.rest_port) as other:
        assert other.works()


@pytest.fixture
def client(server: Served) -> Iterator[Client]:
    """A client of the REST port."""
    with connected(server.rest_port) as one:
        yield one


# ---- connections that last ----
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


# ---- bodies ----
@pytest.mark.parametrize(
    "line", ["Content-Length: 20", "CONTENT-LENGTH:20", "Content-Length: \t 20 \t", "Content-Length: 0020"]
)
def test_content_length_delimits_bodies(client: Client, line: str) -> None:
    """The bytes that follow are another request."""
    client.send(post(ONE, line), get())

    assert client.answer().json() == {"predictions": [1.5]}
    assert client.answer().json()["model_version_status"]


CHUNKS = {
    "one": chunk(ONE) + chunk(b"") + b"\r\n",
    "of a byte": b"".join(chunk(ONE[at : at + 1]) for at in range(len(ONE))) + chunk(b"") + b"\r\n",
    "extensions": chunk(ONE[:5], b';a=b;c="d;\\" e"') + chunk(ONE[5:], b";x") + chunk(b"", b";last") + b"\r\n",
    "trailers": chunk(ONE) + chunk(b"") + b"X-Checksum: 12\r\nHost: y\r\n\r\n",
    "leading zeros": b"00014\r\n" + ONE + b"\r\n000\r\n\r\n",
    "upper case": chunk(ONE + b" " * 151).replace(b"ab", b"AB", 1) + chunk(b"") + b"\r\n",
}


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


# ---- answers that come early ----
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


# ---- what is refused ----
def line(text: bytes) -> bytes:
    """A GET whose head has this line."""
    return b"GET /v1/models/echo HTTP/1.1\r\nHost: x\r\n" + text + b"\r\n\r\n"


def chunks(text: bytes) -> bytes:
    """A request whose chunked body begins with this text."""
    return post(text, CHUNKED)


BAD_LENGTHS = ["+20", "-20", "20x", "0x14", "2 0", "", "20, 21", "20;", "18446744073709551636", "1e1", "\u00b2"]
REFUSED: dict[str, bytes] = {
    **{f"Content-Length: {length}": post(ONE, f"Content-Length: {length}") for length in BAD_LENGTHS},
    "two lengths": post(ONE, "Content-Length: 20", "Content-Length: 21"),
    "two lengths, the other way": post(ONE, "Content-Length: 21", "Content-Length: 20"),
    **{
        f"Transfer-Encoding: {coding}": post(CHUNKS["one"], f"Transfer-Encoding: {coding}")
        for coding in ("gzip", "identity", "xchunked", "chunkedx", "chunked, gzip", "chunked, chunked", "chunked;a=b")
    },
    "two codings": post(CHUNKS["one"], CHUNKED, "Transfer-Encoding: identity"),
    "a coding with a space before the colon": post(CHUNKS["one"], "Transfer-Encoding : chunked"),
    **{
        f"the chunk size {size!r}": chunks(size + b"\r\n" + ONE + b"\r\n0\r\n\r\n")
        for size in (b"x", b"-14", b"+14", b"0x14", b"", b"1 4", b"14 14", b"g", b"10000000000000014", b"\xb2")
    },
    "a chunk longer than it says": chunks(b"13\r\n" + ONE + b"\r\n0\r\n\r\n"),
    "a chunk shorter than it says": chunks(b"15\r\n" + ONE + b"\r\n0\r\n\r\n"),
    "a header line without a colon": line(b"what is this"),
    "a header line of a colon": line(b": x"),
    "a name with a space": line(b"X Y: z"),
    "a space before the colon": line(b"X : z"),
    "a name with a NUL": line(b"X\0Y: z"),
    "a value with a NUL": line(b"X: y\0z"),
    "a NUL of a line": line(b"\0"),
    "a carriage return in a value": line(b"X: y\rz"),
    "a carriage return in a name": line(b"X\rY: z"),
    "a carriage return before a line": line(b"\rX: y"),
    "two carriage returns at the end of a line": line(b"X: y\r"),
    "a control character in a name": line(b"X\x01: y"),
    "a name of another alphabet": line("X\u00e9: y".encode()),
    "no version": b"GET /v1/models/echo\r\nHost: x\r\n\r\n",
    "no path": b"GET HTTP/1.1\r\nHost: x\r\n\r\n",
    "nothing but a method": b"GET\r\n\r\n",
    "a fourth word": b"GET /v1/models/echo HTTP/1.1 x\r\nHost: x\r\n\r\n",
    "another protocol": b"GET /v1/models/echo HTP/1.1\r\nHost: x\r\n\r\n",
    "the protocol in lower case": b"GET /v1/models/echo http/1.1\r\nHost: x\r\n\r\n",
    "a version that is none": b"GET /v1/models/echo HTTP/1.x\r\nHost: x\r\n\r\n",
    "a version with many digits": b"GET /v1/models/echo HTTP/1.10\r\nHost: x\r\n\r\n",
    "version 3": b"GET /v1/models/echo HTTP/3.0\r\nHost: x\r\n\r\n",
    "a NUL in the path": b"GET /v1/\0models HTTP/1.1\r\nHost: x\r\n\r\n",
    "a carriage return in the path": b"GET /v1/\rmodels HTTP/1.1\r\nHost: x\r\n\r\n",
    "a NUL in the method": b"GE\0T / HTTP/1.1\r\nHost: x\r\n\r\n",
    "words": b"Hello, is anybody there?\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2 + b"\r\n\r\n",
    "HTTP/2 in the middle": get() + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5),
}


@pytest.mark.parametrize("name", REFUSED)
def test_malformed_requests_are_refused(client: Client, name: str) -> None:
    """400 or, if it is not supported, 501 or 505. The connection closes, so what follows is never a request."""
    before = 1 if name == "HTTP/2 in the middle" else 0
    client.try_send(REFUSED[name], STOWAWAY, STOWAWAY)

    assert all(client.answer().status == 200 for _ in range(before))
    answer = client.answer()
    assert answer.status in (400, 501, 505), answer
    assert b"stowaway" not in answer.body
    assert client.is_over()


LENIENT: dict[str, bytes] = {
    "a length and chunks": post(CHUNKS["one"], f"Content-Length: {len(CHUNKS['one'])}", CHUNKED),
    "chunks and a length": post(CHUNKS["one"], CHUNKED, "Content-Length: 5"),
    "chunks in HTTP/1.0": post(CHUNKS["one"], CHUNKED, version="1.0"),
}


@pytest.mark.parametrize("name", LENIENT)
def test_a_length_and_chunks_together_close_the_connection(client: Client, name: str) -> None:
    """The request is refused, or read by its chunks (section 6.1)."""
    client.try_send(LENIENT[name], STOWAWAY)

    answer = client.answer()
    assert answer.status == 400 or answer.json() == {"predictions": [1.5]}
    assert client.is_over()


CHOICES: dict[str, bytes] = {
    "line feeds alone": get().replace(b"\r\n", b"\n"),
    "a line feed alone": b"GET /v1/models/echo HTTP/1.1\nHost: x\r\n\r\n",
    "a line that goes on": line(b"X: y\r\n z"),
    "a line that goes on after the first": b"GET /v1/models/echo HTTP/1.1\r\n X: y\r\nHost: x\r\n\r\n",
    "two spaces": b"GET  /v1/models/echo HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tab": b"GET\t/v1/models/echo HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space first": b" GET /v1/models/echo HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space last": b"GET /v1/models/echo HTTP/1.1 \r\nHost: x\r\n\r\n",
    "version 1.2": get(version="1.2"),
    "the same length twice": post(ONE, "Content-Length: 20", "Content-Length: 20"),
    "the same length twice in a line": post(ONE, "Content-Length: 20, 20"),
    "a line feed alone after a chunk's size": chunks(b"14\n" + ONE + b"\r\n0\r\n\r\n"),
    "a line feed alone after a chunk": chunks(b"14\r\n" + ONE + b"\n0\r\n\r\n"),
    "a line feed alone after the last chunk": chunks(b"14\r\n" + ONE + b"\r\n0\n\r\n"),
    "a line feed in an extension": chunks(b"14;x\ny\r\n" + ONE + b"\r\n0\r\n\r\n"),
    "a space after a chunk's size": chunks(b"14 \r\n" + ONE + b"\r\n0\r\n\r\n"),
    "a space before an extension": chunks(b"14 ; x\r\n" + ONE + b"\r\n0\r\n\r\n"),
    "a trailer about the length": chunks(chunk(ONE) + b"0\r\nContent-Length: 99\r\n\r\n"),
    "a trailer about the coding": chunks(chunk(ONE) + b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "another coding before the chunks": post(CHUNKS["one"], "Transfer-Encoding: identity", CHUNKED),
    "bytes beyond ASCII in a value": line("X: \u00e9\u4e2d".encode()),
    "a name with a colon": line(b"X:Y: z"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_unusual_requests_are_refused_or_read_in_one_way(client: Client, name: str) -> None:
    """An error that closes the connection, or an answer and then the next request."""
    client.try_send(CHOICES[name], get("/v1/models/next"))

    answer = client.answer()
    if answer.status == 200:
        assert b"Could not find any versions of model next" in client.answer().body
    else:
        assert answer.status in (400, 501, 505)
        assert client.is_over()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/models/echo HTTP/1.1\r\n\r\n",
        b"GET /v1/models/echo HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET /v1/models/echo HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /v1/models/echo HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /v1/models/echo HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET /v1/models/echo HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n",
    ],
    ids=["none", "twice", "two", "a space", "a path", "two in HTTP/1.0"],
)
def test_invalid_hosts_are_refused(client: Client, head: bytes) -> None:
    """None, several or an invalid one: 400 (section 3.2)."""
    client.send(head)

    assert client.answer().status == 400


@pytest.mark.parametrize("method", ["FOO", "get", "G", "X" * 1000, "PROPFIND", "TRACE", "CONNECT"])
def test_unknown_methods_are_refused_with_their_body(client: Client, method: str) -> None:
    """501 or 400; their body is not taken for a request."""
    client.try_send(post(STOWAWAY, method=method))

    answer = client.answer()
    assert answer.status in (400, 501)
    if answer.is_last:
        assert client.is_over()
    else:
        assert client.works()


def test_options_asterisk_has_one_answer(client: Client) -> None:
    client.send(get("*", method="OPTIONS"), get())

    assert client.answer().status in (200, 204, 400, 404, 405, 501)
    with suppress(ClosedError):
        assert client.answer().status == 200


# ---- abuse ----
HUGE: dict[str, tuple[bytes, set[int]]] = {
    "a header line": (line(b"X: " + b"y" * 1_000_000), {400, 431}),
    "a header line without an end": (line(b"X: " + b"y" * 1_000_000)[:-4], {400, 431}),
    "a name": (line(b"X" * 1_000_000 + b": y"), {400, 431}),
    "many header lines": (line(b"\r\n".join(b"X-%d: y" % number for number in range(100_000))), {400, 431}),
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
