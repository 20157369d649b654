"""Responses over HTTP/2 within the client's flow-control windows."""

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
def test_responses_keep_to_small_windows(server: Served, window: int) -> None:
    """The client checks the window at each frame; in the end, the whole response arrives."""
    with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: window}) as client:
        streams = [client.ask([number, *range(50)]) for number in range(5)]
        for number, stream in enumerate(streams):
            assert client.answer(stream).values().tolist() == [number, *range(50)]
        assert client.longest <= window


def test_a_response_waits_for_a_window(server: Served) -> None:
    """With a window of 0, only header fields arrive; each WINDOW_UPDATE brings that many bytes."""
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


def test_an_empty_response_needs_no_window(server: Served) -> None:
    with connected(server.rest_port, {Setting.INITIAL_WINDOW_SIZE: 0}, opens=False) as client:
        answer = client.answer(client.start(get_fields(f"{STATUS_PATH}/versions/99999999999999999999"), end=True))

        assert (answer.status, bytes(answer.body)) == (400, b"")


def test_windows_may_become_negative(server: Served) -> None:
    """INITIAL_WINDOW_SIZE changes the windows of open streams by the difference (section 6.9.2)."""
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


def test_all_streams_share_the_window_of_the_connection(server: Served) -> None:
    """One response uses it up; others continue as it opens."""
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
def test_frames_keep_to_the_clients_maximum(server: Served, limit: int | None) -> None:
    """A response of 4 MB."""
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


def test_a_response_waits_for_a_client_that_reads_late(server: Served) -> None:
    """Other connections do not wait."""
    with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW}) as client:
        client.open(0, MAX_WINDOW - DEFAULT_WINDOW)
        client.sync()
        numbers = np.arange(3_000_000, dtype=np.float32)
        stream = client.start(grpc_fields())
        client.send_body(stream, message(numbers))
        with connected(server.grpc_port) as other:
            assert all(other.works() for _ in range(20))

        assert np.array_equal(client.answer(stream).values(), numbers)
