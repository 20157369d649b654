"""HTTP/2 frames that are errors of the connection (RFC 9113, section 5.4.1)."""

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
    FLOW,
    MAX_WINDOW,
    OPEN,
    PADDED,
    PREFACE,
    PRIORITY,
    PROTOCOL,
    SIZE,
    WAIT_S,
    Client,
    ClosedError,
    Code,
    Kind,
    Setting,
    connected,
    frame,
    grpc_fields,
    header_frames,
    message,
    parsed,
    ping,
    reset,
    setting,
    settings,
    window_update,
)
from model_servers import Served
from ports import HOST

pytestmark = pytest.mark.server


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
    rest = client.send_what_fits(stream, body)  # the server grants more once it knows the length
    client.wait(lambda: client.server_room(stream) >= length)
    client.send_body(stream, rest)

    assert client.answer(stream).values().tolist() == list(range(length))
