"""Closed connections and failed requests are freed at once: the garbage collector would come late for what they hold."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import suppress

import pytest
import uvloop
from http2_client import PREFACE, settings
from ports import HOST, free_ports
from waiting import PATIENCE_S

from tfsctl.server.http.exchange import Exchange
from tfsctl.server.http.http1 import Http1Connection
from tfsctl.server.http.http2 import Http2Connection
from tfsctl.server.http.listener import Address, Listener
from tfsctl.server.http.timeouts import within
from tfsctl.server.request_body import ClientGoneError

_ITERATIONS = 100  # of the event loop


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    """No garbage collection."""
    gc.disable()
    yield
    gc.enable()


async def _read_body(exchange: Exchange) -> None:
    with suppress(ClientGoneError):
        await within(PATIENCE_S, exchange.body(2**20))


@pytest.mark.parametrize(
    "data",
    [PREFACE + settings({}), b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc"],
    ids=["HTTP/2", "half a body over HTTP/1.1"],
)
def test_connection_of_a_client_that_left(data: bytes) -> None:
    """Nothing refers to it once it is closed."""
    loop = uvloop.new_event_loop()
    try:
        assert loop.run_until_complete(asyncio.wait_for(_is_freed(data), PATIENCE_S))
    finally:
        loop.close()


async def _is_freed(data: bytes) -> bool:
    """Connect, send data and leave; whether nothing refers to the connection then."""
    (port,) = free_ports(1)
    listener = Listener(_read_body, [Address(HOST, port)], max_connections=10)
    await listener.start()
    connections = listener.state.connections
    _, writer = await asyncio.open_connection(HOST, port)
    writer.write(data)
    while not any(isinstance(one, (Http1Connection, Http2Connection)) for one in connections):  # noqa: ASYNC110 - no event
        await asyncio.sleep(0)
    left = [weakref.ref(one) for one in connections]
    writer.close()
    while connections:  # noqa: ASYNC110 - nothing signals this
        await asyncio.sleep(0)
    for _ in range(_ITERATIONS):  # the task of the request ends
        await asyncio.sleep(0)
    await listener.stop()
    return [ref() for ref in left] == [None]


class _Body:
    """Something large."""


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_work_with_a_deadline(*, is_cancelled: bool) -> None:
    """What failed work refers to is freed with the exception, or when the task that waited is cancelled."""
    bodies: list[weakref.ref[_Body]] = []

    async def work() -> None:
        body = _Body()
        bodies.append(weakref.ref(body))
        if is_cancelled:
            await asyncio.Event().wait()
        raise ClientGoneError

    async def run() -> None:
        task = asyncio.create_task(within(PATIENCE_S, work()))
        while not bodies:  # noqa: ASYNC110 - nothing signals this
            await asyncio.sleep(0)
        if is_cancelled:
            task.cancel()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], BaseException)

    asyncio.run(run())
    assert bodies[0]() is None
