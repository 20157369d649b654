"""Responses over HTTP/2 as the client's windows allow them."""

from __future__ import annotations

import numpy as np
import pytest
from http2_client import (
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    MAX_WINDOW,
    STATUS_PATH,
    Setting,
    connected,
    get_fields,
    grpc_fields,
    message,
)
from model_servers import Served

pytestmark = pytest.mark.server


@pytest.mark.parametrize("window", [1, 10, 100])
def test_small_windows(server: Served, window: int) -> None:
    """Never more than the window at any moment, which the client checks at each frame; in the end, all of it."""
    with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: window}) as client:
        streams = [client.ask([number, *range(50)]) for number in range(5)]
        for number, stream in enumerate(streams):
            assert client.answer(stream).values().tolist() == [number, *range(50)]
        assert client.longest <= window


def test_no_window(server: Served) -> None:
    """With 0 there are header fields only; each WINDOW_UPDATE brings so much, and others do not wait."""
    with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: 0}, opens=False) as client:
        stuck, stream = client.ask([7.5]), client.ask(range(100))
        body = client.answers[stream].body
        client.comes(stream)
        client.sync()
        assert len(body) == 0
        for size in (1, 2, 100, 4):
            expected = len(body) + size
            client.open(stream, size)
            client.comes(stream, expected)
            client.sync()
            assert len(body) == expected
        client.open(stream, MAX_WINDOW)
        assert client.answer(stream).values().tolist() == list(range(100))

        assert len(client.answers[stuck].body) == 0
        client.open(stuck, 10_000)
        assert client.answer(stuck).values().tolist() == [7.5]


def test_what_is_empty_needs_no_window(server: Served) -> None:
    """An answer without content ends, whatever the windows are."""
    with connected(server.rest_port, {Setting.INITIAL_WINDOW_SIZE: 0}, opens=False) as client:
        answer = client.answer(client.start(get_fields(f"{STATUS_PATH}/versions/99999999999999999999"), end=True))

        assert (answer.status, bytes(answer.body)) == (400, b"")


def test_a_window_below_zero(server: Served) -> None:
    """INITIAL_WINDOW_SIZE changes the windows of streams under way by as much, below zero too (section 6.9.2)."""
    with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: 1000}, opens=False) as client:
        stream = client.ask(range(2000))
        body = client.answers[stream].body
        client.comes(stream, 1000)
        client.configure({Setting.INITIAL_WINDOW_SIZE: 100})
        client.sync()
        assert client.windows[stream] == -900
        client.open(stream, 900)
        client.sync()
        assert len(body) == 1000
        client.open(stream, 50)
        client.comes(stream, 1050)
        client.configure({Setting.INITIAL_WINDOW_SIZE: 350})
        client.comes(stream, 1300)
        client.sync()
        assert len(body) == 1300
        client.configure({Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW - 2000})
        assert client.answer(stream).values().tolist() == list(range(2000))


def test_the_window_of_the_connection(server: Served) -> None:
    """One answer takes it all; what others may have depends on it too, and it goes on as it opens."""
    with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW}, opens=False) as client:
        client.sync()
        large = client.start(grpc_fields())
        client.send_body(large, message(range(50_000)))
        client.wait(lambda: client.window == 0)
        assert len(client.answers[large].body) == DEFAULT_WINDOW
        small = client.ask([8.5])
        client.comes(small)
        client.sync()
        assert len(client.answers[small].body) == 0
        client.open(0, 10)
        client.wait(lambda: client.window == 0)
        client.open(0, 10_000_000)

        assert client.answer(small).values().tolist() == [8.5]
        assert client.answer(large).values().tolist() == list(range(50_000))


@pytest.mark.parametrize("limit", [None, DEFAULT_FRAME, 100_000, 2**24 - 1])
def test_lengths_of_frames(server: Served, limit: int | None) -> None:
    """An answer of 4 MB, in frames no longer than the client said."""
    values: dict[int, int] = {Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW}
    if limit is not None:
        values[Setting.MAX_FRAME_SIZE] = limit
    with connected(server.grpc_port, values) as client:
        client.open(0, MAX_WINDOW - DEFAULT_WINDOW)
        client.wait(lambda: client.server_settings)
        numbers = np.arange(1_000_000, dtype=np.float32)
        stream = client.start(grpc_fields())
        client.send_body(stream, message(numbers))

        assert np.array_equal(client.answer(stream).values(), numbers)
        assert client.longest <= (limit or DEFAULT_FRAME)


def test_a_client_that_reads_late(server: Served) -> None:
    """The answer waits in the server as long as it takes; other connections do not."""
    with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW}) as client:
        client.open(0, MAX_WINDOW - DEFAULT_WINDOW)
        client.sync()
        numbers = np.arange(3_000_000, dtype=np.float32)
        stream = client.start(grpc_fields())
        client.send_body(stream, message(numbers))
        with connected(server.grpc_port) as other:
            assert all(other.works() for _ in range(20))

        assert np.array_equal(client.answer(stream).values(), numbers)
