"""Bodies of HTTP/2 requests: DATA frames, trailers, and the windows that the server opens."""

from __future__ import annotations

import random

import numpy as np
import pytest
from http2_client import (
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    END_STREAM,
    MAX_WINDOW,
    PADDED,
    Client,
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


def test_a_body_may_come_in_frames_of_one_byte(client: Client) -> None:
    """With empty frames between them; the last frame is empty or not."""
    for last_is_empty in (True, False):
        stream, body = client.start(grpc_fields()), message([5.5])
        frames = [frame(Kind.DATA, 0, stream, body[at : at + 1]) for at in range(len(body) - 1)]
        frames.append(frame(Kind.DATA, END_STREAM * (not last_is_empty), stream, body[-1:]))
        empty = [frame(Kind.DATA, 0, stream)] * 2
        client.send(*(piece for one in frames[:-1] for piece in (one, *empty)), frames[-1])
        if last_is_empty:
            client.send(frame(Kind.DATA, END_STREAM, stream))

        assert client.answer(stream).values().tolist() == [5.5]


def test_a_call_without_a_message_has_a_status(client: Client) -> None:
    """END_STREAM on HEADERS, or an empty DATA frame."""
    first, second = client.start(grpc_fields(), end=True), client.start(grpc_fields())
    client.send(frame(Kind.DATA, END_STREAM, second))

    for stream in (first, second):
        answer = client.answer(stream)
        assert (answer.status, answer.reset) == (200, None)
        assert (answer.trailers | answer.headers)["grpc-status"] not in ("", "0")


def test_trailers_end_a_request(client: Client) -> None:
    """Also in CONTINUATION frames."""
    for size in (DEFAULT_FRAME, 5):
        stream = client.start(grpc_fields())
        trailers = client.encoder.encode([("x-checksum", "1234567"), ("x-other", "y")])
        client.send(
            frame(Kind.DATA, 0, stream, message([6.5])),
            header_frames(stream, trailers, END_STREAM, size),
        )

        assert client.answer(stream).values().tolist() == [6.5]


def test_interleaved_bodies_are_answered_separately(client: Client) -> None:
    """Three hundred calls, their bodies cut and shuffled."""
    chance = random.Random(7)
    streams = [client.start(grpc_fields()) for _ in range(300)]
    pieces: list[int] = []
    rest: dict[int, bytes] = {}
    for number, stream in enumerate(streams):
        rest[stream] = message([number, -number])
        pieces += [stream] * 4
    chance.shuffle(pieces)
    for stream in pieces:
        size = chance.randrange(30)
        client.send(frame(Kind.DATA, 0, stream, rest[stream][:size]))
        rest[stream] = rest[stream][size:]
    for stream in chance.sample(streams, len(streams)):
        client.send(frame(Kind.DATA, END_STREAM, stream, rest[stream]))

    for number, stream in enumerate(streams):
        assert client.answer(stream).values().tolist() == [number, -number]


def test_stream_numbers_may_be_skipped(client: Client) -> None:
    """Each is larger than the one before; the largest is 2**31 - 1."""
    for stream in (3, 5, 1001, 2**30 + 1, 2**31 - 1):
        client.windows[stream] = DEFAULT_WINDOW
        body = frame(Kind.DATA, END_STREAM, stream, message([1.5]))
        client.send(header_frames(stream, stateless(grpc_fields())), body)
        assert client.answer(stream).values().tolist() == [1.5]


def test_expect_100_continue_is_answered(rest_client: Client) -> None:
    """With 100 or the answer (RFC 9110, section 10.1.1), before the client sends the body."""
    body = b'{"instances": [1.5]}'
    fields = [(":method", "POST"), *get_fields("/v1/models/echo:predict")[1:], ("expect", "100-continue")]
    stream = rest_client.start([*fields, ("content-length", str(len(body)))])
    rest_client.comes(stream)
    assert rest_client.answers[stream].status == 100
    rest_client.send(frame(Kind.DATA, END_STREAM, stream, body))

    assert rest_client.answer(stream).json() == {"predictions": [1.5]}


def test_a_large_body_is_received_through_reopened_windows(client: Client) -> None:
    """40 MB, and an answer that waits for the client's windows."""
    client.sync()
    numbers = np.arange(10_000_000, dtype=np.float32)
    stream = client.start(grpc_fields())
    client.send_body(stream, message(numbers))

    assert any(came.kind == Kind.WINDOW_UPDATE for came in client.frames)
    assert np.array_equal(client.answer(stream).values(), numbers)


def test_several_large_bodies_are_received_at_once(client: Client) -> None:
    """Their pieces are interleaved."""
    client.sync()
    bodies = {client.start(grpc_fields()): message([number] * 1_000_000) for number in range(4)}
    for at in range(0, 5_000_000, 250_000):
        for stream, body in bodies.items():
            if piece := body[at : at + 250_000]:
                client.send_body(stream, piece, end=at + 250_000 >= len(body))

    for number, stream in enumerate(bodies):
        assert set(client.answer(stream).values()) == {number}


def test_padding_is_given_back_to_the_windows(client: Client) -> None:
    """Otherwise a body with much padding would stop in the middle."""
    client.sync()
    stream, body, at = client.start(grpc_fields()), message(range(10_000)), 0
    while at < len(body):
        client.wait(lambda: client.server_room(stream) >= 257)
        count = min(client.server_room(stream) // 257, 400, len(body) - at)
        some = body[at : at + count]
        client.send(*(frame(Kind.DATA, PADDED, stream, b"\xff" + bytes([byte]) + bytes(255)) for byte in some))
        at += count
    client.send(frame(Kind.DATA, END_STREAM, stream))

    assert client.answer(stream).values().tolist() == list(range(10_000))


def test_reset_bodies_are_given_back_to_the_window(client: Client) -> None:
    """More bodies are reset than the window of the connection could hold."""
    client.sync()
    body = bytes(1_000_000)
    for _ in range(40):
        stream = client.start(grpc_fields())
        client.send_body(stream, body, end=False)
        client.send(reset(stream))

    assert client.works()
    stream = client.start(grpc_fields())
    client.send_body(stream, message(range(500_000)))
    assert client.answer(stream).values().tolist() == list(range(500_000))
    assert client.server_room(client.start(grpc_fields())) > 0


def test_an_early_answer_leaves_the_connection_usable(client: Client) -> None:
    """Requests that are not gRPC are refused at once, while their bodies still arrive."""
    client.sync()
    for _ in range(3):
        stream = client.start([(":method", "PUT"), *get_fields("/v1/models/echo:predict")[1:]])
        for _ in range(200):
            if client.answers[stream].reset is not None:
                break
            client.send_body(stream, bytes(50_000), end=False)
        else:
            client.send(frame(Kind.DATA, END_STREAM, stream))
        answer = client.answer(stream)
        assert answer.status == 415
        assert answer.reset in (None, Code.NO_ERROR)

    client.send(frame(Kind.DATA, END_STREAM, stream))
    assert client.works()


def test_a_reset_ends_an_answer(server: Served) -> None:
    """While it waits for a window, and while it is sent; other streams continue."""
    with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: 100}, opens=False) as client:
        client.open(0, 2**30)
        streams = [client.ask(range(1000)) for _ in range(50)]
        for stream in streams:
            client.comes(stream, 100)
            client.send(reset(stream), window_update(stream, 1000))  # a late one, which is allowed
        client.sync()
        client.configure({Setting.INITIAL_WINDOW_SIZE: 1_000_000})
        client.send(*(window_update(stream, 1000) for stream in streams[:5]))

        assert client.works()
        assert all(len(client.answers[stream].body) == 100 for stream in streams)

    with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW}) as client:
        client.open(0, MAX_WINDOW - DEFAULT_WINDOW)
        client.sync()
        for _ in range(3):
            stream = client.start(grpc_fields())
            client.send_body(stream, message(range(1_000_000)))
            client.comes(stream, 1)
            client.send(reset(stream))
            assert client.works()


def test_reset_calls_do_not_affect_others(client: Client) -> None:
    """RST_STREAM before, with and after the end of a request."""
    kept = []
    for number in range(200):
        first, second, third = (client.start(grpc_fields()) for _ in range(3))
        end = frame(Kind.DATA, END_STREAM, second, message())
        client.send(reset(first), end, reset(second), frame(Kind.DATA, END_STREAM, third, message([number])))
        kept.append(third)

    assert [client.answer(stream).values()[0] for stream in kept] == list(range(200))
