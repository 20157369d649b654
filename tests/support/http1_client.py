"""An HTTP/1.1 client that sends bytes as a test gives them, and checks the framing of answers (RFC 9112)."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from model_servers import Served
from ports import HOST

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
    has_length = any(line.lower().startswith(("content-length", "transfer-encoding")) for line in lines)
    length = [] if has_length else [f"Content-Length: {len(body)}"]
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


CHUNKS = {
    "one": chunk(ONE) + chunk(b"") + b"\r\n",
    "of a byte": b"".join(chunk(ONE[at : at + 1]) for at in range(len(ONE))) + chunk(b"") + b"\r\n",
    "extensions": chunk(ONE[:5], b';a=b;c="d;\\" e"') + chunk(ONE[5:], b";x") + chunk(b"", b";last") + b"\r\n",
    "trailers": chunk(ONE) + chunk(b"") + b"X-Checksum: 12\r\nHost: y\r\n\r\n",
    "leading zeros": b"00014\r\n" + ONE + b"\r\n000\r\n\r\n",
    "upper case": chunk(ONE + b" " * 151).replace(b"ab", b"AB", 1) + chunk(b"") + b"\r\n",
}


def get_with_line(text: bytes) -> bytes:
    """A GET whose head has this line."""
    return b"GET /v1/models/echo HTTP/1.1\r\nHost: x\r\n" + text + b"\r\n\r\n"
