"""Hostile HTTP/2 clients: floods, endless header blocks, unread answers."""

from __future__ import annotations

from contextlib import suppress

import pytest
from abusive_clients import deaf, flooded, others_are_served
from http2_client import (
    ACK,
    BLOCK,
    CALM,
    COMPRESSION,
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    MAX_WINDOW,
    PREFACE,
    PROTOCOL,
    Client,
    ClosedError,
    Code,
    Frame,
    Kind,
    Setting,
    connected,
    frame,
    get_fields,
    grpc_fields,
    header_frames,
    ping,
    reset,
    setting,
    settings,
    stateless,
    window_update,
)
from model_servers import Served, own_mb

pytestmark = pytest.mark.server


def test_endless_header_blocks_end_the_connection(server: Served, client: Client) -> None:
    """Long before they take much memory."""
    client.sync()
    literal = b"\x00\x01x\x7f\xf8\x7e" + bytes(16_375)  # a field of 16 kB
    with others_are_served(server, growth_mb=20):
        client.try_send(frame(Kind.HEADERS, 0, client.new_stream(), BLOCK))
        for _ in range(16):
            client.try_send(frame(Kind.CONTINUATION, 0, 1, literal))
        assert client.end() == CALM


def test_an_endless_header_field_ends_the_connection(server: Served, client: Client) -> None:
    client.sync()
    with others_are_served(server, growth_mb=20):
        client.try_send(frame(Kind.HEADERS, 0, client.new_stream(), BLOCK + b"\x00\x01x\x7f\xff\xff\xff\x07"))
        for _ in range(16):
            client.try_send(frame(Kind.CONTINUATION, 0, 1, b"v" * DEFAULT_FRAME))
        assert client.end() in (CALM, COMPRESSION)


@pytest.mark.parametrize("payload", [b"", b"\x00\x01x\x01y"])
def test_header_blocks_of_many_small_frames_do_not_delay_others(server: Served, payload: bytes) -> None:
    """A hundred thousand CONTINUATION frames with few bytes or none."""
    with others_are_served(server, growth_mb=20), connected(server.grpc_port) as client:
        client.sync()
        client.try_send(frame(Kind.HEADERS, 0, client.new_stream(), BLOCK))
        client.try_send(frame(Kind.CONTINUATION, 0, 1, payload) * 100_000)
        client.try_send(frame(Kind.CONTINUATION, END_HEADERS, 1), ping(b"the last"))
        with suppress(ClosedError):
            client.wait(lambda: Frame(Kind.PING, ACK, 0, b"the last") in client.frames[-1:])
            assert payload == b""
            return
        assert client.end() in (CALM, PROTOCOL)


def test_header_blocks_that_expand_are_refused(server: Served, client: Client) -> None:
    """A field of 4 kB in the table, and forty thousand references to it: 160 MB of fields."""
    client.sync()
    block = BLOCK + b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * 40_000
    with others_are_served(server, growth_mb=40):
        client.try_send(header_frames(client.new_stream(), block))
        with suppress(ClosedError):
            answer = client.answer(1)
            assert answer.reset is not None or answer.status in (400, 431)
            assert client.works()
            return
        assert client.end() in (CALM, COMPRESSION, PROTOCOL)


@pytest.mark.parametrize("port", ["gRPC", "REST"])
def test_rapid_reset_does_not_affect_others(server: Served, port: str) -> None:
    """Tens of thousands of requests, complete or not, each reset at once (CVE-2023-44487)."""
    block, flags, number = BLOCK, 0, server.grpc_port
    if port == "REST":
        block, flags, number = stateless(get_fields()), END_STREAM, server.rest_port
    frames = [header_frames(stream, block, flags) + reset(stream) for stream in range(1, 60_001, 2)]
    with others_are_served(server, growth_mb=40), connected(number) as client:
        client.sync()
        client.try_send(*frames, ping(b"the last"))
        with suppress(ClosedError):
            client.wait(lambda: Frame(Kind.PING, ACK, 0, b"the last") in client.frames[-1:])
            return
        assert client.end() in (CALM, PROTOCOL, Code.NO_ERROR)


FLOODS = {
    "PING": ping() * 6000,
    "SETTINGS": settings({}) * 10_000,
    "SETTINGS that change windows": (setting(Setting.INITIAL_WINDOW_SIZE, 1) + settings({})) * 5000,
}


@pytest.mark.parametrize("name", FLOODS)
def test_unread_replies_to_floods_are_bounded(server: Served, name: str) -> None:
    """Each frame has a reply that the client does not read: the server stops reading, or closes."""
    limit = 16_000_000
    with others_are_served(server, growth_mb=20), deaf(server.grpc_port) as connection:
        connection.sendall(PREFACE + settings({}))
        assert flooded(connection, FLOODS[name], limit) < limit


@pytest.mark.parametrize("name", ["a field", "a WINDOW_UPDATE"])
def test_unread_resets_are_bounded(server: Served, name: str) -> None:
    """Streams that the server has to reset, of a client that does not read."""
    bad = {"a field": BLOCK + b"\x00\x01X\x01y", "a WINDOW_UPDATE": BLOCK}[name]
    update = frame(Kind.WINDOW_UPDATE, 0, 0, bytes(4)) if name == "a WINDOW_UPDATE" else b""
    frames = [
        header_frames(stream, bad) + update[:5] + stream.to_bytes(4, "big") * bool(update) + update[9:]
        for stream in range(1, 60_001, 2)
    ]
    with others_are_served(server, growth_mb=40), deaf(server.grpc_port) as connection:
        connection.sendall(PREFACE + settings({}))
        data = b"".join(frames)
        flooded(connection, data, len(data))


def test_unread_answers_are_bounded(server: Served) -> None:
    """A client with unlimited windows sends requests and reads no answers."""
    block = stateless(get_fields(f"/v1/models/{'m' * 4000}"))
    data = b"".join(header_frames(stream, block, END_STREAM) for stream in range(1, 30_001, 2))
    with others_are_served(server, growth_mb=60), deaf(server.rest_port) as connection:
        connection.sendall(PREFACE + setting(Setting.INITIAL_WINDOW_SIZE, MAX_WINDOW))
        connection.sendall(window_update(0, MAX_WINDOW - DEFAULT_WINDOW))
        assert flooded(connection, data, len(data)) < len(data)


def test_many_settings_do_not_delay_others(server: Served) -> None:
    """INITIAL_WINDOW_SIZE thousands of times in one frame, with thousands of open streams."""
    values = b"".join(b"\0\x04" + (1000 + number).to_bytes(4, "big") for number in range(50_000))
    with connected(server.grpc_port) as client:
        client.sync()
        for _ in range(2000):
            client.start(grpc_fields())
        client.sync()
        with others_are_served(server, growth_mb=20):
            size = min(len(values), client.server_settings.get(Setting.MAX_FRAME_SIZE, DEFAULT_FRAME) // 6 * 6)
            frames = [frame(Kind.SETTINGS, payload=values[at : at + size]) for at in range(0, len(values), size)]
            client.try_send(*frames)
            with suppress(ClosedError):
                client.sync()


def test_many_window_updates_do_not_delay_others(server: Served) -> None:
    """Thousands of updates by one byte, with thousands of answers that wait for their own windows."""
    with connected(server.rest_port, {Setting.INITIAL_WINDOW_SIZE: 0}, opens=False) as client:
        client.sync()
        streams = [client.start(get_fields(), end=True) for _ in range(2000)]
        for stream in streams:
            client.comes(stream)
        with others_are_served(server, growth_mb=20):
            client.try_send(window_update(0, 1) * 10_000, window_update(streams[0], 1) * 10_000)


def test_streams_may_be_left(server: Served) -> None:
    """Nothing is logged for their calls: the fixture looks for that."""
    path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    fields = [(name, path if name == ":path" else value) for name, value in grpc_fields()]
    for closes in (False, True):
        with connected(server.grpc_port) as one:
            streams = [one.start(fields) for _ in range(20)]
            for stream in streams:
                one.send_body(stream, bytes(5), end=False)
                one.comes(stream, 5)
                if closes:
                    one.send(reset(stream))
            one.sync()
    with connected(server.grpc_port) as another:
        assert another.works()


def test_ended_streams_take_no_memory(client: Client, server: Served) -> None:
    """On a long connection."""
    before_mb = 0.0
    for _ in range(2):
        before_mb = own_mb(server.pid)
        for start in range(0, 3000, 300):
            streams = [client.ask([number]) for number in range(start, start + 300)]
            assert all(client.answer(stream).trailers for stream in streams)
    assert own_mb(server.pid) < before_mb + 5
