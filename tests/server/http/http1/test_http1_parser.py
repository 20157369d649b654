"""The HTTP/1 parser without a server: which heads and chunked bodies it accepts, and which it refuses."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from tfsctl.server.http.http1_parser import BadRequestError, ChunkDecoder, head_end, parse_head, without_empty_lines
from tfsctl.server.limits import Limits

LIMITS = Limits()
LINE = b"POST /v1/models/m:predict HTTP/1.1\r\n"


def head(*lines: bytes, start: bytes = LINE) -> bytes:
    """A head with a Host field and these lines."""
    return start + b"".join(line + b"\r\n" for line in (b"Host: x", *lines)) + b"\r\n"


def refused(data: bytes, limits: Limits = LIMITS) -> HTTPStatus:
    """The status with which a head is refused."""
    with pytest.raises(BadRequestError) as error:
        parse_head(data, limits)
    return error.value.status


def test_a_head_is_parsed_into_its_parts() -> None:
    """Method, target, fields without the blanks around their values, and the length of the body."""
    start = b"POST /v1/models/a%20b:predict?x=%20 HTTP/1.1\r\n"
    parsed = parse_head(head(b"Content-Length: \t20 ", b"X-Empty:", start=start), LIMITS)

    assert (parsed.method, parsed.target) == ("POST", "/v1/models/a%20b:predict?x=%20")
    assert parsed.headers == {b"host": b"x", b"content-length": b"20", b"x-empty": b""}
    assert (parsed.length, parsed.is_chunked, parsed.keeps_alive, parsed.is_http_1_0) == (20, False, True, False)


@pytest.mark.parametrize(
    "line",
    [
        b"GET  / HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"GET / HTTP/1.1 x",
        b"GET /a b HTTP/1.1",
        b"GET /\0 HTTP/1.1",
        b"GET /",
        b"GET / http/1.1",
        b"GET / HTTP/01.1",
        b"G@T / HTTP/1.1",
        b"/ HTTP/1.1",
        b"",
    ],
)
def test_malformed_request_lines_are_refused(line: bytes) -> None:
    """There is one space between the parts, and nothing before or after them."""
    assert refused(head(start=line + b"\r\n")) == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("version", [b"2.0", b"9.9", b"0.9", b"1.2"])
def test_other_versions_are_505(version: bytes) -> None:
    """Anything but HTTP/1.1 and HTTP/1.0."""
    assert refused(head(start=b"GET / HTTP/" + version + b"\r\n")) == HTTPStatus.HTTP_VERSION_NOT_SUPPORTED


@pytest.mark.parametrize(
    "line",
    [
        b"X Y: a",
        b"X : a",
        b"X\t: a",
        b": a",
        b"no colon",
        b"X\xe9: a",
        b"X@: a",
        b"X: a\r\n b",
        b" X: a",
        b"X: a\rb",
        b"X: a\nY: b",
        b"X: a\0b",
        b"X: a\x01b",
        b"X: a\x7fb",
        b"Host: y",
    ],
)
def test_malformed_fields_are_refused(line: bytes) -> None:
    """Names that are not tokens, folded lines, control characters in values, a second Host."""
    assert refused(head(line)) == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    "host", [b"", b"a", b"a.b-c_d:80", b"a:", b"127.0.0.1:1", b"[::1]:80", b"[fe80::1%25e0]", b"a%20b"]
)
def test_hosts_are_names_or_addresses(host: bytes) -> None:
    """With or without a port."""
    assert parse_head(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host, Limits()).headers[b"host"] == host


@pytest.mark.parametrize(
    "host",
    [
        b"a/b",
        b"a@b",
        b"a b",
        b"a?b",
        b"a#b",
        b"a:b",
        b"a:1:2",
        b"::1",
        b"[::1",
        b"[]",
        b"a<b",
        b'a"b',
        b"a\\b",
        b"a%z",
        b"\xe9",
    ],
)
def test_malformed_hosts_are_refused(host: bytes) -> None:
    """With a path, a user name or a blank."""
    assert refused(LINE + b"Host: " + host + b"\r\n\r\n") == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("target", [b"http://a", b"HTTPS://a:80/b", b"http://[::1]:80/b?c=d@e", b"http://a?b@c", b"*"])
def test_targets_with_a_host_are_accepted(target: bytes) -> None:
    """Clients send a whole URL to a proxy."""
    assert parse_head(head(start=b"GET %b HTTP/1.1\r\n" % target), LIMITS).target == target.decode()


@pytest.mark.parametrize("host", [b"", b":80", b"a@b", b"a:b@c", b"a:b", b"[::1", b"a\\b", b"a%z", b"a#b"])
def test_targets_with_a_malformed_host_are_refused(host: bytes) -> None:
    """An http URL has a host, and no user name (RFC 9110, sections 4.2.1 and 4.2.4)."""
    assert refused(head(start=b"GET http://%b/v1/models/m HTTP/1.1\r\n" % host)) == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("length", [b"", b"+20", b"-1", b"0x14", b"20 1", b"20, 20", b"20,", b"1e3", b"9" * 19])
def test_malformed_lengths_are_refused(length: bytes) -> None:
    """Anything but digits, or more digits than an int64 has."""
    assert refused(head(b"Content-Length: " + length)) == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((b"Transfer-Encoding: gzip, chunked",), 501),
        ((b"Transfer-Encoding: chunked, gzip",), 501),
        ((b"Transfer-Encoding: identity",), 501),
        ((b"Transfer-Encoding: chunked, chunked",), 501),
        ((b"Transfer-Encoding: xchunked",), 501),
        ((b"Transfer-Encoding: chunked;a=b",), 501),
        ((b'Transfer-Encoding: "chunked"',), 501),
        ((b"Transfer-Encoding:",), 501),
        ((b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400),
        ((b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), 400),
        ((b"Transfer-Encoding: chunked", b"Content-Length: 5"), 400),
        ((b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
        ((b"Transfer-Encoding: identity", b"Content-Length: 5"), 400),
        ((b"Content-Length: 5", b"Content-Length: 5"), 400),
        ((b"Content-Length: 5", b"Content-Length: 6"), 400),
    ],
)
def test_ambiguous_framings_are_refused(lines: tuple[bytes, ...], status: int) -> None:
    """Only `chunked` alone, or one length alone, tells where a body ends."""
    assert refused(head(*lines)) == status


def test_chunks_over_http_1_0_are_refused() -> None:
    """A proxy that speaks HTTP/1.0 would not know where the body ends."""
    assert refused(head(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0\r\n")) == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    ("line", "version", "keeps_alive"),
    [
        (b"X: y", b"1.1", True),
        (b"Connection: close", b"1.1", False),
        (b"Connection: x, Close", b"1.1", False),
        (b"Connection: close\r\nConnection: keep-alive", b"1.1", False),
        (b"X: y", b"1.0", False),
        (b"Connection: Keep-Alive", b"1.0", True),
    ],
)
def test_keep_alive_depends_on_version_and_connection_header(line: bytes, version: bytes, keeps_alive: bool) -> None:
    """HTTP/1.1 connections are kept by default, HTTP/1.0 connections close by default."""
    assert parse_head(head(line, start=b"GET / HTTP/" + version + b"\r\n"), LIMITS).keeps_alive is keeps_alive


def test_connect_closes_the_connection() -> None:
    """What follows CONNECT is not HTTP."""
    assert not parse_head(head(start=b"CONNECT x:80 HTTP/1.1\r\n"), LIMITS).keeps_alive


def test_heads_above_the_limits_are_refused() -> None:
    """Too many fields or bytes: 431; a target that does not end: 414."""
    small = Limits(max_header_bytes=1000, max_header_count=10)
    assert parse_head(head(*[b"X-%d: y" % number for number in range(9)]), small)
    assert refused(head(*[b"X-%d: y" % number for number in range(10)]), small) == 431
    assert refused(head(b"X: " + b"y" * 1000), small) == 431
    for data, status in ((b"GET /" + b"x" * 2000, 414), (head()[:-2] + b"X: " + b"y" * 2000, 431)):
        with pytest.raises(BadRequestError) as error:
            head_end(bytearray(data), 0, small)
        assert error.value.status == status


def test_the_end_of_a_head_is_found_in_any_pieces() -> None:
    """Bytes that cannot be a head are refused before it is complete."""
    data = head()
    for cut in range(1, len(data)):
        buffer = bytearray(data[:cut])
        assert head_end(buffer, 0, LIMITS) == 0
        buffer += data[cut:] + b"body"
        assert head_end(buffer, cut, LIMITS) == len(data)
    for bad in (b"\x16\x03\x01", b"\0", b"{}", b"GET / HTTP/1.1\n", LINE + b"Host: x\n"):
        with pytest.raises(BadRequestError):
            head_end(bytearray(bad), 0, LIMITS)


def test_a_few_empty_lines_before_a_request_are_ignored() -> None:
    """RFC 9112, section 2.2. A flood of them is refused."""
    assert without_empty_lines(b"\r\n\r\nGET") == b"GET"
    with pytest.raises(BadRequestError):
        without_empty_lines(b"\r\n" * 100)


def decoded(data: bytes, piece: int) -> tuple[bytes, bytes, bool]:
    """The body from chunks in pieces of this size, the unread bytes, and whether the body is complete."""
    decoder, body, buffer = ChunkDecoder(LIMITS), b"", b""
    for at in range(0, len(data), piece):
        buffer += data[at : at + piece]
        has_more = True
        while has_more and not decoder.is_complete:
            parts, read, has_more = decoder.decode(buffer)
            body += b"".join(parts)
            buffer = buffer[read:]
    return body, buffer, decoder.is_complete


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
def test_chunks_may_be_cut_anywhere(piece: int) -> None:
    """With extensions and trailers; what follows is left for the next request."""
    data = b'5\r\nhello\r\n00A;x="y";z\r\n, world of\r\n0\r\nX-T: 1\r\n\r\nGET / HTTP/1.1\r\n'
    assert decoded(data, piece) == (b"hello, world of", b"GET / HTTP/1.1\r\n", True)


@pytest.mark.parametrize(
    "data",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhelloXX\r\n",
        b"\r\nhello",
        b"-5\r\nhello",
        b"+5\r\nhello",
        b"0x5\r\nhello",
        b"5 \r\nhello",
        b"5_0\r\nhello",
        b"g\r\n",
        b"1" * 16 + b"\r\n",
        b"5;a\0b\r\nhello",
        b"5;a\nb\r\nhello",
        b"0\r\n\n",
        b"0\n\r\n",
        b"0\r\nX: a\nY: b\r\n\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n X: a\r\n\r\n",
        b"5;" + b"a" * 5000 + b"\r\nhello",
        b"1;" + b"a" * 5000,
        (b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 20,
        b"0\r\n" + b"X: y\r\n" * 20_000,
        b"0\r\nX: " + b"y" * 70_000,
    ],
    ids=lambda data: repr(data[:24]),
)
@pytest.mark.parametrize("piece", [1, 100_000])
def test_malformed_chunks_are_refused(data: bytes, piece: int) -> None:
    """Sizes, line ends, extensions and trailers that are invalid or endless."""
    with pytest.raises(BadRequestError):
        decoded(data, piece)


@pytest.mark.parametrize("size", [b"80000000", b"fffffffffffffff"])
def test_chunks_larger_than_any_body_are_refused(size: bytes) -> None:
    """When their size has arrived, as with a Content-Length."""
    with pytest.raises(BadRequestError) as error:
        ChunkDecoder(LIMITS).decode(size + b"\r\n")
    assert error.value.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert ChunkDecoder(LIMITS).decode(b"7fffffff\r\nab") == ([b"ab"], 12, False)


def test_decoding_many_chunks_is_interrupted() -> None:
    """After a thousand chunks, so that a flood of them does not hold the event loop."""
    parts, read, has_more = ChunkDecoder(LIMITS).decode(b"1\r\nx\r\n" * 5000)

    assert len(parts) <= 1000
    assert read <= 6000
    assert has_more
