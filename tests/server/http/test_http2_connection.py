"""Beginning, end and control frames of HTTP/2 connections: SETTINGS, PING, GOAWAY."""

from __future__ import annotations

import random
import time

import pytest
from http2_client import (
    ACK,
    END_HEADERS,
    END_STREAM,
    PREFACE,
    Client,
    Frame,
    Kind,
    Setting,
    connected,
    frame,
    get_fields,
    grpc_fields,
    header_frames,
    message,
    ping,
    settings,
    stateless,
    window_update,
)
from model_servers import Served

pytestmark = pytest.mark.server


def test_both_ports_speak_http2(client: Client, rest_client: Client) -> None:
    """A call on one, a GET on the other."""
    assert client.answer(client.ask([2.5])).values().tolist() == [2.5]
    assert client.answers[1].headers["content-type"] == "application/grpc"

    answer = rest_client.answer(rest_client.start(get_fields(), end=True))
    assert answer.json()["model_version_status"][0]["state"] == "AVAILABLE"
    assert answer.headers["content-length"] == str(len(answer.body))


def test_settings_are_sent_first_and_acknowledged(client: Client) -> None:
    """The server's SETTINGS are its first frame; each SETTINGS of the client is acknowledged once."""
    for size in range(20):
        client.configure({Setting.INITIAL_WINDOW_SIZE: 1000 + size})
    client.sync()

    assert (client.frames[0].kind, client.frames[0].flags) == (Kind.SETTINGS, 0)
    assert client.acked == 21
    assert client.server_settings.get(Setting.ENABLE_PUSH, 0) == 0  # section 6.5.2: a server sends no other
    assert client.works()
    assert client.acked == 21


def test_pings_are_answered_in_order(client: Client) -> None:
    """With the same eight bytes; an acknowledgement is not acknowledged."""
    payloads = [random.Random(seed).randbytes(8) for seed in range(100)]
    client.send(ping(b"answered", ACK), *map(ping, payloads))
    client.wait(lambda: Frame(Kind.PING, ACK, 0, payloads[-1]) in client.frames)

    assert [came.payload for came in client.frames if came.kind == Kind.PING] == payloads
    assert client.works()


def test_frames_may_arrive_a_byte_at_a_time(server: Served) -> None:
    """The preface too."""
    sent = PREFACE + settings({}) + header_frames(1, stateless(grpc_fields()))
    sent += frame(Kind.DATA, END_STREAM, 1, message([3.5]))
    with connected(server.grpc_port, begins=False) as client:
        stream = client.new_stream()
        for number in range(len(sent)):
            client.socket.sendall(sent[number : number + 1])
            time.sleep(0.0005)
        assert client.answer(stream).values().tolist() == [3.5]


def test_a_hundred_requests_may_arrive_in_one_packet(server: Served) -> None:
    """With the preface."""
    with connected(server.grpc_port, begins=False) as client:
        streams = [client.new_stream() for _ in range(100)]
        sent = [PREFACE, settings({})]
        for number, stream in enumerate(streams):
            sent.append(header_frames(stream, client.encoder.encode(grpc_fields())))
            sent.append(frame(Kind.DATA, END_STREAM, stream, message([number])))
        client.socket.sendall(b"".join(sent))
        assert [client.answer(stream).values()[0] for stream in streams] == list(range(100))


def test_unknown_frames_settings_and_flags_are_ignored(client: Client) -> None:
    """And reserved bits (section 5.5)."""
    client.send(*(frame(kind, 0xFF, stream, b"what?") for kind in (0x0A, 0x10, 0xBE, 0xFF) for stream in (0, 1, 7)))
    client.configure({0xF000: 7, 0: 1, 9: 2**32 - 1})
    stream = client.new_stream()
    block = stateless(grpc_fields())
    client.send(
        frame(Kind.HEADERS, END_HEADERS | 0xD2, stream | 1 << 31, block),
        frame(0xBE, 0xFF, stream, b"what?"),
        frame(Kind.PING, 0xFE, 1 << 31, b"01234567"),
        window_update(0, 1 << 31 | 5),
        frame(Kind.DATA, END_STREAM | 0xF6, stream | 1 << 31, message()),
    )

    assert client.answer(stream).values().tolist() == [1.5]
    assert client.acked == 2
    assert client.works()


def test_goaway_of_the_client_leaves_running_calls_answered(client: Client) -> None:
    stream = client.start(grpc_fields())
    client.send(frame(Kind.GOAWAY, 0, 0, bytes(8) + b"so long"), frame(Kind.DATA, END_STREAM, stream, message()))

    assert client.answer(stream).values().tolist() == [1.5]
