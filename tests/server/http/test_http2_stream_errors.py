"""HTTP/2 frames that are errors of a stream (RFC 9113, section 5.4.2)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from http2_client import (
    BLOCK,
    CLOSED,
    END_HEADERS,
    END_STREAM,
    FLOW,
    MAX_WINDOW,
    OPEN,
    PROTOCOL,
    SIZE,
    STATUS_PATH,
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
    reset,
    stateless,
    window_update,
)
from model_servers import Served

pytestmark = pytest.mark.server


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
    "an invalid length": get_fields(content_length="x"),
    "a length below zero": get_fields(content_length="-1"),
    "a length of thousands of digits": get_fields(content_length="9" * 5000),
    "two hosts": [*get_fields(), ("host", "a"), ("host", "a")],
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
