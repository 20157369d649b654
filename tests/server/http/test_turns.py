"""Clients that send large bodies let others have their turn after each megabyte."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest
from hpack import Encoder
from http2_client import PREFACE, Kind, frame, grpc_fields, header_frames, settings

from tfsctl.server.http import http1
from tfsctl.server.http.exchange import Exchange
from tfsctl.server.http.http1 import Http1Connection
from tfsctl.server.http.http2 import Http2Connection
from tfsctl.server.http.listener_state import _READERS_PER_TURN, ListenerState
from tfsctl.server.limits import Limits
from tfsctl.server.memory_budget import MemoryBudget
from tfsctl.server.process.loop_turns import MAX_TURN_BYTES, LoopTurns

BODY_BYTES = 4 * MAX_TURN_BYTES
READ_BYTES = 256 * 1024  # by uvloop at once
HEAD = b"POST /v1/models/m:predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % BODY_BYTES


class FakeLoop:
    """Keeps what is to be called in the next turn."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], object]] = []

    def time(self) -> float:
        """The time in seconds."""
        return 0.0

    def call_soon(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call it in the next turn."""
        self.soon.append(partial(callback, *arguments))

    def call_later(self, _delay_s: float, _callback: Callable[..., object], *_arguments: object) -> None:
        """Never call it: time does not pass."""

    def turn(self) -> None:
        """Have a turn."""
        due, self.soon = self.soon, []
        for callback in due:
            callback()


class FakeTransport:
    """Knows whether it is read from, and closed."""

    def __init__(self) -> None:
        self.is_read, self.is_closed = True, False

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.is_closed

    def can_write_eof(self) -> bool:
        """No: it is closed at once."""
        return False

    def close(self) -> None:
        """Close it."""
        self.is_closed = True

    def write(self, data: bytes) -> None:
        """Forget it."""

    def pause_reading(self) -> None:
        """Read no more."""
        self.is_read = False

    def resume_reading(self) -> None:
        """Read again."""
        self.is_read = True


def http2_bytes() -> bytes:
    """The bytes of a gRPC call with a body of a few megabytes."""
    data = frame(Kind.DATA, 0, 1, bytes(16_000))
    head = PREFACE + settings({}) + header_frames(1, Encoder().encode(grpc_fields()))
    return head + data * (BODY_BYTES // len(data))


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> FakeLoop:
    """An event loop. Bodies are not stopped because nobody takes them, and no turn takes long, however slow the machine."""
    monkeypatch.setattr(LoopTurns, "is_over", lambda _turns: False)
    monkeypatch.setattr(http1, "_MAX_UNCONSUMED_BYTES", 2 * BODY_BYTES)
    return FakeLoop()


def state_on(loop: FakeLoop) -> ListenerState:
    """A listener whose application leaves every body where it is."""

    def serve(_exchange: Exchange) -> None:
        """Do nothing."""

    return ListenerState(cast("Any", serve), cast("asyncio.AbstractEventLoop", loop), 1, MemoryBudget(2**30))


AnyConnection = type[Http1Connection | Http2Connection]
KINDS = [(Http1Connection, HEAD + bytes(BODY_BYTES - 1)), (Http2Connection, http2_bytes())]


@pytest.mark.parametrize(("kind", "sent"), KINDS)
def test_a_large_body_is_read_in_several_turns(loop: FakeLoop, kind: AnyConnection, sent: bytes) -> None:
    """Nothing is read after each megabyte until the event loop has had its turn."""
    transport = FakeTransport()
    connection = kind(state_on(loop), Limits(), 1, "")
    connection.connection_made(cast("Any", transport))
    loop.turn()
    read = [0]
    for at in range(0, len(sent), READ_BYTES):
        if not transport.is_read:
            loop.turn()
            read.append(0)
        assert transport.is_read
        connection.data_received(sent[at : at + READ_BYTES])
        read[-1] += READ_BYTES
    assert max(read) <= MAX_TURN_BYTES + READ_BYTES
    assert len(read) >= BODY_BYTES // MAX_TURN_BYTES - 1


@pytest.mark.parametrize(("kind", "sent"), KINDS)
def test_large_bodies_of_many_connections_are_read_in_turn(loop: FakeLoop, kind: AnyConnection, sent: bytes) -> None:
    """All read in the first turn; in each other one, eight of those that wait, and the few that were not stopped."""
    state, transports = state_on(loop), [FakeTransport() for _ in range(50)]
    connections = [kind(state, Limits(), 1, "") for _ in transports]
    for connection, transport in zip(connections, transports, strict=True):
        connection.connection_made(cast("Any", transport))
    unsent, read = dict.fromkeys(range(50), sent), list[int]()
    while unsent:
        read.append(0)
        for index in [index for index in unsent if transports[index].is_read]:
            part, unsent[index] = unsent[index][:READ_BYTES], unsent[index][READ_BYTES:]
            connections[index].data_received(part)
            read[-1] += len(part)
            if not unsent[index]:
                del unsent[index]
        loop.turn()
    assert max(read[1:]) <= MAX_TURN_BYTES + (_READERS_PER_TURN + 1) * READ_BYTES
    assert sum(read) == 50 * len(sent)


REQUEST = b"GET /v1/models/m HTTP/1.1\r\nhost: x\r\nx-number: %d\r\n\r\n"


def test_a_head_that_comes_late_in_a_turn_is_parsed_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the next of two requests whose client has sent the end of its requests. No more is read until then."""
    is_over = iter([True, False, True, False])
    monkeypatch.setattr(LoopTurns, "is_over", lambda _turns: next(is_over))
    monkeypatch.setattr(http1, "FEW", 1)
    loop, transport, served = FakeLoop(), FakeTransport(), list[Exchange]()
    application = cast("Any", served.append)
    state = ListenerState(application, cast("asyncio.AbstractEventLoop", loop), 1, MemoryBudget(2**30))
    connection = Http1Connection(state, Limits(), 1, "")
    connection.connection_made(cast("Any", transport))

    connection.data_received(REQUEST % 1 + REQUEST % 2)
    assert (len(served), transport.is_read) == (0, False)
    loop.turn()
    assert (len(served), transport.is_read) == (1, True)
    assert connection.eof_received()
    served[0].respond(200, (), b"")
    assert (len(served), transport.is_read, transport.is_closed) == (1, False, False)
    loop.turn()
    assert len(served) == 2
    served[1].respond(200, (), b"")
    assert transport.is_closed
