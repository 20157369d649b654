"""HTTP/1.1 requests that the server refuses (RFC 9112)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from http1_client import (
    CHUNKED,
    CHUNKS,
    ONE,
    STOWAWAY,
    Client,
    ClosedError,
    chunk,
    get,
    get_with_line,
    post,
)

pytestmark = pytest.mark.server


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
    "a header line without a colon": get_with_line(b"what is this"),
    "a header line of a colon": get_with_line(b": x"),
    "a name with a space": get_with_line(b"X Y: z"),
    "a space before the colon": get_with_line(b"X : z"),
    "a name with a NUL": get_with_line(b"X\0Y: z"),
    "a value with a NUL": get_with_line(b"X: y\0z"),
    "a NUL of a line": get_with_line(b"\0"),
    "a carriage return in a value": get_with_line(b"X: y\rz"),
    "a carriage return in a name": get_with_line(b"X\rY: z"),
    "a carriage return before a line": get_with_line(b"\rX: y"),
    "two carriage returns at the end of a line": get_with_line(b"X: y\r"),
    "a control character in a name": get_with_line(b"X\x01: y"),
    "a name of another alphabet": get_with_line("X\u00e9: y".encode()),
    "no version": b"GET /v1/models/echo\r\nHost: x\r\n\r\n",
    "no path": b"GET HTTP/1.1\r\nHost: x\r\n\r\n",
    "nothing but a method": b"GET\r\n\r\n",
    "a fourth word": b"GET /v1/models/echo HTTP/1.1 x\r\nHost: x\r\n\r\n",
    "another protocol": b"GET /v1/models/echo HTP/1.1\r\nHost: x\r\n\r\n",
    "the protocol in lower case": b"GET /v1/models/echo http/1.1\r\nHost: x\r\n\r\n",
    "an invalid version": b"GET /v1/models/echo HTTP/1.x\r\nHost: x\r\n\r\n",
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
    "a line that goes on": get_with_line(b"X: y\r\n z"),
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
    "bytes beyond ASCII in a value": get_with_line("X: \u00e9\u4e2d".encode()),
    "a name with a colon": get_with_line(b"X:Y: z"),
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
