"""HTTP/2 frames that are errors of the connection or of a stream (RFC 9113, section 5.4)."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
from http2_client import (
    ACK,
    BLOCK,
    CLOSED,
    COMPRESSION,
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FLOW,
    MAX_WINDOW,
    OPEN,
    PADDED,
    PREFACE,
    PRIORITY,
    PROTOCOL,
    SIZE,
    STATUS_PATH,
    WAIT_S,
    Client,
    ClosedError,
    Code,
    Kind,
    Setting,
    connected,
    frame,
    get_fields,
    grpc_fields,
    header_frames,
    message,
    parsed,
    ping,
    reset,
    setting,
    settings,
    stateless,
    window_update,
)
from model_servers import Served
from ports import HOST

pytestmark = pytest.mark.server

# ---- errors of a connection ----
CONNECTION_ERRORS: dict[str, tuple[bytes, set[Code]]] = {
    "DATA on stream 0": (frame(Kind.DATA, 0, 0, b"x"), {PROTOCOL}),
    "DATA on an idle stream": (frame(Kind.DATA, 0, 5, b"x"), {PROTOCOL}),
    "DATA with too much padding": (OPEN + frame(Kind.DATA, PADDED, 1, b"\x05abcd"), {PROTOCOL}),
    "DATA padded without a length": (OPEN + frame(Kind.DATA, PADDED, 1), {PROTOCOL, SIZE}),
    "HEADERS on stream 0": (header_frames(0, BLOCK), {PROTOCOL}),
    "HEADERS on an even stream": (header_frames(2, BLOCK), {PROTOCOL}),
    "HEADERS on a stream left out": (header_frames(5, BLOCK) + header_frames(3, BLOCK), {PROTOCOL, CLOSED}),
    "HEADERS with too much padding": (frame(Kind.HEADERS, END_HEADERS | PADDED, 1, b"\xff" + BLOCK), {PROTOCOL}),
    "HEADERS padded without a length": (frame(Kind.HEADERS, END_HEADERS | PADDED, 1), {PROTOCOL, SIZE}),
    "HEADERS with half a priority": (frame(Kind.HEADERS, END_HEADERS | PRIORITY, 1, b"abc"), {PROTOCOL, SIZE}),
    "PRIORITY on stream 0": (frame(Kind.PRIORITY, 0, 0, bytes(5)), {PROTOCOL}),
    "RST_STREAM on stream 0": (reset(0), {PROTOCOL}),
    "RST_STREAM on an idle stream": (reset(7), {PROTOCOL}),
    **{
        f"{what} on a server's stream": (OPEN + header_frames(3, BLOCK) + one, {PROTOCOL})
        for what, one in {
            "RST_STREAM": reset(2),
            "WINDOW_UPDATE": window_update(2, 1),
            "DATA": frame(Kind.DATA, 0, 2, b"x"),
        }.items()
    },
    "DATA after RST_STREAM": (OPEN + reset(1) + frame(Kind.DATA, 0, 1, b"x"), {CLOSED}),
    "HEADERS after RST_STREAM": (OPEN + reset(1) + header_frames(1, BLOCK), {CLOSED}),
    "DATA on a stream left out": (header_frames(5, BLOCK) + frame(Kind.DATA, 0, 3, b"x"), {CLOSED}),
    "SETTINGS with thousands of entries": (
        frame(Kind.SETTINGS, payload=b"\0\x04\0\0\xff\xff" * 10_000),
        {Code.ENHANCE_YOUR_CALM},
    ),
    "HEADERS of 200 kB in one frame": (frame(Kind.HEADERS, END_HEADERS, 1, bytes(200_000)), {Code.ENHANCE_YOUR_CALM}),
    "RST_STREAM of three bytes": (OPEN + frame(Kind.RST_STREAM, 0, 1, b"abc"), {SIZE}),
    "SETTINGS on a stream": (OPEN + frame(Kind.SETTINGS, 0, 1), {PROTOCOL}),
    "SETTINGS of seven bytes": (frame(Kind.SETTINGS, payload=bytes(7)), {SIZE}),
    "SETTINGS acknowledged with content": (frame(Kind.SETTINGS, ACK, payload=bytes(6)), {SIZE}),
    "ENABLE_PUSH 2": (setting(Setting.ENABLE_PUSH, 2), {PROTOCOL}),
    "INITIAL_WINDOW_SIZE 2**31": (setting(Setting.INITIAL_WINDOW_SIZE, 2**31), {FLOW}),
    "INITIAL_WINDOW_SIZE too large for a stream under way": (
        OPEN + window_update(1, 2**31 - 1 - DEFAULT_WINDOW) + setting(Setting.INITIAL_WINDOW_SIZE, 100_000),
        {FLOW},
    ),
    "MAX_FRAME_SIZE 16383": (setting(Setting.MAX_FRAME_SIZE, 16_383), {PROTOCOL}),
    "MAX_FRAME_SIZE 2**24": (setting(Setting.MAX_FRAME_SIZE, 2**24), {PROTOCOL}),
    "PUSH_PROMISE": (OPEN + frame(Kind.PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02" + BLOCK), {PROTOCOL}),
    "PING on a stream": (OPEN + frame(Kind.PING, 0, 1, bytes(8)), {PROTOCOL}),
    "PING of seven bytes": (ping(bytes(7)), {SIZE}),
    "PING of nine bytes": (ping(bytes(9)), {SIZE}),
    "GOAWAY on a stream": (OPEN + frame(Kind.GOAWAY, 0, 1, bytes(8)), {PROTOCOL}),
    "GOAWAY of seven bytes": (frame(Kind.GOAWAY, 0, 0, bytes(7)), {SIZE}),
    "WINDOW_UPDATE of 0": (window_update(0, 0), {PROTOCOL}),
    "WINDOW_UPDATE past 2**31 - 1": (window_update(0, MAX_WINDOW), {FLOW}),
    "WINDOW_UPDATE on an idle stream": (window_update(3, 10), {PROTOCOL}),
    "WINDOW_UPDATE of five bytes": (frame(Kind.WINDOW_UPDATE, 0, 0, bytes(5)), {SIZE}),
    "CONTINUATION without HEADERS": (frame(Kind.CONTINUATION, END_HEADERS, 1, BLOCK), {PROTOCOL}),
    "CONTINUATION after END_HEADERS": (OPEN + frame(Kind.CONTINUATION, END_HEADERS, 1), {PROTOCOL}),
    "CONTINUATION on stream 0": (frame(Kind.CONTINUATION, END_HEADERS, 0), {PROTOCOL}),
    **{
        f"{what} in a header block": (frame(Kind.HEADERS, 0, 1, BLOCK[:9]) + between, {PROTOCOL})
        for what, between in {
            "DATA": frame(Kind.DATA, 0, 1, b"x"),
            "HEADERS": header_frames(1, BLOCK),
            "HEADERS of another stream": header_frames(3, BLOCK),
            "CONTINUATION of another stream": frame(Kind.CONTINUATION, END_HEADERS, 3, BLOCK[9:]),
            "PRIORITY": frame(Kind.PRIORITY, 0, 1, bytes(5)),
            "RST_STREAM": reset(1),
            "SETTINGS": settings({}),
            "PING": ping(),
            "WINDOW_UPDATE": window_update(0, 1),
            "an unknown frame": frame(0xBE, 0, 1, b"x"),
        }.items()
    },
    **{
        f"a header block with {what}": (frame(Kind.HEADERS, END_HEADERS, 1, block), {COMPRESSION})
        for what, block in {
            "the index 0": BLOCK + b"\x80",
            "an index of nothing": BLOCK + b"\xc0",
            "an endless index": BLOCK + b"\xff" * 20,
            "half an index": BLOCK + b"\xff",
            "half a name": BLOCK + b"\x40\x0ax-not-all",
            "half a value": BLOCK + b"\x40\x01x\x05abc",
            "a name and no value": BLOCK + b"\x40\x01x",
            "a value longer than anything": BLOCK + b"\x40\x01x\x7f\xff\xff\xff\xff\x07abc",
            "Huffman padding of zeros": BLOCK + b"\x40\x01x\x81\x00",
            "Huffman padding of a byte": BLOCK + b"\x40\x01x\x82\x07\xff",
            "the Huffman code of the end": BLOCK + b"\x40\x01x\x84\xff\xff\xff\xff",
            "a size of the table at its end": BLOCK + b"\x20",
            "too large a table": b"\x3f\xff\xff\xff\x7f" + BLOCK,
            "thousands of table sizes": b"\x20\x3f\xe1\x1f" * 10_000 + BLOCK,
            "the name of an index of nothing": BLOCK + b"\x7f\x7f\x01x",
        }.items()
    },
}


@pytest.mark.parametrize("name", CONNECTION_ERRORS)
def test_connection_errors_send_goaway_and_close(server: Served, client: Client, name: str) -> None:
    """With the error code (section 7); other connections are not affected."""
    frames, codes = CONNECTION_ERRORS[name]
    with connected(server.grpc_port) as other:
        other.sync()
        client.sync()
        for _ in range(3):
            client.new_stream()
        client.try_send(frames)

        assert client.end() in codes
        assert other.works()


@pytest.mark.parametrize(
    "first",
    [
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + settings({}),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rx" + settings({}),
        PREFACE + ping(),
        PREFACE + OPEN,
        PREFACE + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        settings({}) + PREFACE,
    ],
)
def test_invalid_prefaces_close_the_connection(server: Served, first: bytes) -> None:
    """With or without a GOAWAY (section 3.4)."""
    for port in (server.grpc_port, server.rest_port):
        with socket.create_connection((HOST, port), timeout=WAIT_S) as connection:
            connection.sendall(first)
            came = b"".join(iter(lambda: received(connection), b""))
        if came.startswith(b"HTTP/"):
            assert came.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505 ", b"HTTP/1.1 501 "))
            assert came.count(b"HTTP/1.1 ") == 1
        else:
            codes = {one.payload[7] for one in parsed(came) if one.kind == Kind.GOAWAY}
            assert codes <= {PROTOCOL, SIZE}
            assert not any(one.kind in (Kind.DATA, Kind.HEADERS) for one in parsed(came))


def received(connection: socket.socket) -> bytes:
    """The bytes received so far; empty if the connection was closed in any way."""
    try:
        return connection.recv(65_536)
    except ConnectionError:
        return b""


@pytest.mark.parametrize("kind", [Kind.HEADERS, Kind.SETTINGS, Kind.PING, 0xBE])
def test_too_long_frames_are_frame_size_errors(client: Client, kind: int) -> None:
    """One byte more than the server's SETTINGS allow (section 4.2)."""
    client.sync()
    length = client.server_settings.get(Setting.MAX_FRAME_SIZE, DEFAULT_FRAME) + 1
    client.try_send(frame(kind, 0, client.new_stream() if kind == Kind.HEADERS else 0, bytes(length)))

    assert client.end() == SIZE


def test_too_long_data_may_end_only_the_stream(client: Client) -> None:
    client.sync()
    length = client.server_settings.get(Setting.MAX_FRAME_SIZE, DEFAULT_FRAME) + 1
    stream = client.start(grpc_fields())
    client.try_send(frame(Kind.DATA, 0, stream, bytes(length)))
    with suppress(ClosedError):
        assert client.answer(stream).reset == SIZE
        assert client.works()
        return
    assert client.end() == SIZE


def test_frames_of_the_maximum_length_are_accepted(client: Client) -> None:
    client.sync()
    length = client.server_settings.get(Setting.MAX_FRAME_SIZE, DEFAULT_FRAME)
    stream, body = client.start(grpc_fields()), message(range(length))
    client.wait(lambda: client.server_room(stream) >= length)
    client.send_body(stream, body)

    assert client.answer(stream).values().tolist() == list(range(length))


# ---- errors of a stream ----
ENDED = header_frames(1, stateless(get_fields()), END_STREAM)
STREAM_ERRORS: dict[str, tuple[bytes, set[Code]]] = {
    "WINDOW_UPDATE of 0": (OPEN + window_update(1, 0), {PROTOCOL}),
    "WINDOW_UPDATE past 2**31 - 1": (OPEN + window_update(1, MAX_WINDOW) * 2, {FLOW}),
    "PRIORITY of four bytes": (OPEN + frame(Kind.PRIORITY, 0, 1, bytes(4)), {SIZE}),
    "DATA after the end": (ENDED + frame(Kind.DATA, 0, 1, b"x"), {CLOSED}),
    "HEADERS after the end": (ENDED + header_frames(1, BLOCK), {CLOSED}),
    "trailers after the end": (ENDED + header_frames(1, stateless([("x", "y")]), END_STREAM), {CLOSED}),
}


@pytest.mark.parametrize("name", STREAM_ERRORS)
def test_stream_errors_send_rst_stream(server: Served, name: str) -> None:
    """The connection stays open; a server may also close it (section 5.4.1)."""
    frames, codes = STREAM_ERRORS[name]
    with connected(server.rest_port, {Setting.INITIAL_WINDOW_SIZE: 0}, opens=False) as client:
        client.sync()  # the answer to what has ended waits for a window
        client.new_stream()
        client.try_send(frames)
        with suppress(ClosedError):
            assert client.answer(1).reset in codes
            client.configure({Setting.INITIAL_WINDOW_SIZE: 10_000})
            assert client.answer(client.start(get_fields(), end=True)).json()
            return
        assert client.end() in codes


CLOSED_STREAM_FRAMES: dict[str, tuple[bytes, set[Code]]] = {
    "DATA": (frame(Kind.DATA, 0, 1, b"x"), {CLOSED}),
    "the last DATA": (frame(Kind.DATA, END_STREAM, 1), {CLOSED}),
    "HEADERS": (header_frames(1, BLOCK), {CLOSED}),
    "trailers": (header_frames(1, stateless([("x", "y")]), END_STREAM), {CLOSED}),
    "CONTINUATION": (frame(Kind.CONTINUATION, END_HEADERS, 1, BLOCK), {CLOSED, PROTOCOL}),
}


@pytest.mark.parametrize("how", ["answered", "reset"])
@pytest.mark.parametrize("name", CLOSED_STREAM_FRAMES)
def test_frames_on_a_closed_stream_are_errors(server: Served, name: str, how: str) -> None:
    """After the answer, or after the client's RST_STREAM: STREAM_CLOSED (section 5.1; h2spec 5.1/8 to 5.1/13)."""
    frames, codes = CLOSED_STREAM_FRAMES[name]
    with connected(server.rest_port) as client, connected(server.rest_port) as other:
        if how == "answered":
            assert client.answer(client.start(get_fields(), end=True)).json()
            client.try_send(frames)
        else:
            client.sync()
            client.new_stream()
            client.try_send(OPEN + reset(1) + frames)

        assert client.end() in codes
        assert other.answer(other.start(get_fields(), end=True)).json()


@pytest.mark.parametrize("kind", [Kind.PRIORITY, Kind.RST_STREAM, Kind.WINDOW_UPDATE])
def test_late_frames_on_a_closed_stream_are_ignored(server: Served, kind: int) -> None:
    """The client may have sent them before it learnt that the stream is closed (RFC 9113, section 5.1)."""
    payload = {Kind.PRIORITY: bytes(5), Kind.RST_STREAM: bytes(4), Kind.WINDOW_UPDATE: b"\0\0\0\x01"}[Kind(kind)]
    with connected(server.rest_port) as client:
        assert client.answer(client.start(get_fields(), end=True)).json()
        client.try_send(frame(kind, 0, 1, payload))

        assert client.answer(client.start(get_fields(), end=True)).json()


def without(name: str) -> list[tuple[str, str]]:
    """A GET without one of its fields."""
    return [pair for pair in get_fields() if pair[0] != name]


MALFORMED: dict[str, list[tuple[str, str]]] = {
    "a name in upper case": get_fields(X_Name="y"),
    "a name with a space": [*get_fields(), ("x y", "z")],
    "a name with a colon in it": [*get_fields(), ("x:y", "z")],
    "a name with a line break": [*get_fields(), ("x\r\ny", "z")],
    "a name beyond ASCII": [*get_fields(), ("x\u00e9", "z")],
    "no name": [*get_fields(), ("", "x")],
    "a value with a line feed": get_fields(x="y\nz"),
    "a value with a carriage return": get_fields(x="y\rz"),
    "a value with a NUL": get_fields(x="y\0z"),
    "a value that begins with a space": get_fields(x=" y"),
    "a value that ends with a tab": get_fields(x="y\t"),
    "no :method": without(":method"),
    "no :scheme": without(":scheme"),
    "no :path": without(":path"),
    "an empty :path": get_fields(path=""),
    **{
        f":{field} {value!r}": [(name, value if name == f":{field}" else other) for name, other in get_fields()]
        for field, values in {
            "path": ("/a b", "/a\r\nb", "/a\nb", "/a\0b", "/\x7f", " /a"),
            "method": ("GET\r\n", "GET /x HTTP/1.1", "G\0T", "", "GET "),
            "scheme": ("ht tp", "http\0", "", "ht\r\ntp", "1http"),
            "authority": ("x\r\ny", "a@b", "a b", "a/b", "x\0"),
        }.items()
        for value in values
    },
    "a host with a user name": get_fields(host="a@b"),
    ":method twice": [(":method", "GET"), *get_fields()],
    ":path twice": [(":path", STATUS_PATH), *get_fields()],
    ":scheme twice": [(":scheme", "http"), *get_fields()],
    ":authority twice": [(":authority", "localhost"), *get_fields()],
    "a pseudo-header of answers": [(":status", "200"), *get_fields()],
    "an unknown pseudo-header": [(":what", "x"), *get_fields()],
    "a pseudo-header after another field": [*without(":path"), ("x", "y"), (":path", STATUS_PATH)],
    "connection": get_fields(connection="keep-alive"),
    "keep-alive": get_fields(keep_alive="timeout=5"),
    "proxy-connection": get_fields(proxy_connection="keep-alive"),
    "transfer-encoding": get_fields(transfer_encoding="chunked"),
    "upgrade": get_fields(upgrade="websocket"),
    "te: gzip": get_fields(te="gzip"),
    "a length, and no body": get_fields(content_length="5"),
    "a length that is none": get_fields(content_length="x"),
    "a length below zero": get_fields(content_length="-1"),
    "a length of thousands of digits": get_fields(content_length="9" * 5000),
    "two lengths": [*get_fields(), ("content-length", "0"), ("content-length", "1")],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_are_refused(rest_client: Client, name: str) -> None:
    """With RST_STREAM or 400 (section 8.1.1); the connection stays open, with a correct header table."""
    assert rest_client.answer(rest_client.start(get_fields(te="trailers"), end=True)).json()
    refused(rest_client, rest_client.start(MALFORMED[name], end=True))

    assert rest_client.answer(rest_client.start(get_fields(te="trailers"), end=True)).json()


def refused(client: Client, stream: int) -> None:
    """Check that the server refuses a malformed request."""
    answer = client.answer(stream)
    assert (answer.status, answer.reset) in ((0, PROTOCOL), (400, None), (400, PROTOCOL), (400, Code.NO_ERROR)), answer


@pytest.mark.parametrize("body", [b"1234", b"123456"])
def test_bodies_must_have_their_content_length(client: Client, body: bytes) -> None:
    """Shorter and longer bodies are malformed."""
    stream = client.start(grpc_fields(content_length="5"))
    client.send(frame(Kind.DATA, 0, stream, body[:3]), frame(Kind.DATA, END_STREAM, stream, body[3:]))

    refused(client, stream)
    assert client.works()


@pytest.mark.parametrize(
    ("trailers", "flags"), [([("x", "y")], 0), ([(":path", "/")], END_STREAM), ([("X", "y")], END_STREAM)]
)
def test_malformed_trailers_are_refused(client: Client, trailers: list[tuple[str, str]], flags: int) -> None:
    """Without END_STREAM, and with fields that no header block may have."""
    stream = client.start(grpc_fields())
    client.send(frame(Kind.DATA, 0, stream, message()))
    client.send(header_frames(stream, client.encoder.encode(trailers), flags))

    refused(client, stream)
    assert client.works()


def test_streams_above_the_maximum_are_refused(client: Client) -> None:
    """Those beyond SETTINGS_MAX_CONCURRENT_STREAMS only, so that the client can send them elsewhere."""
    client.sync()
    allowed = client.server_settings[Setting.MAX_CONCURRENT_STREAMS]
    assert 100 <= allowed <= 10_000
    streams = [client.start(grpc_fields()) for _ in range(allowed)]
    beyond = [client.start(grpc_fields(x_beyond=str(number))) for number in range(20)]
    assert {client.answer(stream).reset for stream in beyond} == {Code.REFUSED_STREAM}
    client.send(*(frame(Kind.DATA, 0, stream, b"late") for stream in beyond))  # they were on their way

    for start in range(0, allowed, 256):
        some = streams[start : start + 256]
        client.send(*(frame(Kind.DATA, END_STREAM, stream, message([stream])) for stream in some))
        assert [client.answer(stream).values()[0] for stream in some] == some
    assert client.works()
