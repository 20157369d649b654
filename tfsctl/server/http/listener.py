"""Listens on sockets, accepts connections, and detects the version of HTTP of each connection."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import stat
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from tfsctl.programs import port_handover
from tfsctl.server.http.exchange import Application
from tfsctl.server.http.frames import PREFACE
from tfsctl.server.http.http1 import Http1Connection
from tfsctl.server.http.http2 import Http2Connection
from tfsctl.server.http.listener_state import ListenerState
from tfsctl.server.http.timeouts import DRAIN_IDLE_S
from tfsctl.server.limits import Limits, default_held_bytes
from tfsctl.server.memory_budget import MemoryBudget
from tfsctl.server.monitoring.recorder import NullRecorder, Recorder
from tfsctl.server.process.shutdown import RunningRequests
from tfsctl.server.short_reads import ShortReader

log = logging.getLogger(__name__)

_BACKLOG = 4096
_STALL_CHECK_S = 0.02
_MEMORY_CHECK_S = 1.0
_STALL_S = 0.002  # a shorter wait is not a stall
_CLOSE_S = 5.0  # for what was written to be sent
_JOIN_S = 60.0  # for another process to listen on the ports that it is to take over
_DRAIN_CHECK_S = 0.5


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen on: a host and port, or the path of a UNIX socket; with TLS if there is an SSL context."""

    host: str = ""
    port: int = 0
    path: str = ""
    tls: ssl.SSLContext | None = None
    limits: Limits = field(default_factory=Limits)


class Listener:
    """Serves an application on addresses. Create it on the event loop it will run on.

    `held_bytes` limits what is held in memory for all clients together (default: a share of the machine's memory).
    The requests that are being served are counted in `running`.
    """

    def __init__(
        self,
        application: Application,
        addresses: Sequence[Address],
        *,
        max_connections: int,
        held_bytes: int | None = None,
        recorder: Recorder | None = None,
        running: RunningRequests | None = None,
    ) -> None:
        budget = MemoryBudget(held_bytes or default_held_bytes())
        loop = asyncio.get_running_loop()
        self.state = ListenerState(
            application,
            loop,
            max_connections,
            budget,
            recorder=recorder or NullRecorder(),
            running=running or RunningRequests(),
        )
        if recorder is not None:
            recorder.add_gauge("connections", lambda: len(self.state.connections))
            recorder.add_gauge("held_bytes", lambda: budget.used + budget.beginnings)
            recorder.add_gauge("max_held_bytes", lambda: budget.limit)
            recorder.add_gauge("bodies_waiting_for_memory", lambda: budget.waiting)
        self._addresses = addresses
        self._servers: list[asyncio.AbstractServer] = []
        self._sockets: list[socket.socket] = []
        self._timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._memory_timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Listen, and accept connections from here on. Raises OSError, and then listens nowhere.

        If this process was started to take over ports (`programs/port_handover`), it shares them with their owner.
        """
        loop = self.state.loop
        with ExitStack() as undo:
            sockets = [undo.enter_context(_bind(address)) for address in self._addresses]
            undo.pop_all()
        self._sockets = [bound for bound in sockets if bound.family != socket.AF_UNIX]
        for address, bound in zip(self._addresses, sockets, strict=True):
            port = None if address.path else address.port
            accept = partial(_accept, self.state, address.limits, port)
            create = loop.create_unix_server if address.path else loop.create_server
            self._servers.append(await create(accept, sock=bound, ssl=address.tls, backlog=_BACKLOG))
        self._check_timeouts()
        self._check_memory()
        if self.state.recorder.is_active:
            self._watch_stalls(loop.time())

    async def stop(self) -> None:
        """Close every connection when what was written has been sent, within a few seconds."""
        for timer in filter(None, (self._timer, self._stall_timer, self._memory_timer)):
            timer.cancel()
        for server in self._servers:
            server.close()
        state = self.state
        for connection in list(state.connections):
            connection.close()
        end_s = state.loop.time() + _CLOSE_S
        while state.connections and state.loop.time() < end_s:  # noqa: ASYNC110 - an event would be set often
            await asyncio.sleep(0.01)

    async def share_ports(self) -> bool:
        """Let another process listen on the ports, and wait until it does. From then on it receives new connections.

        Returns False if none has come within a minute; the ports are not shared any more then.
        """
        for bound in self._sockets:
            port_handover.share(bound)
        end_s = self.state.loop.time() + _JOIN_S
        while not all(map(port_handover.prefer_newer, self._sockets)):
            if self.state.loop.time() > end_s:
                for bound in self._sockets:
                    port_handover.stop_sharing(bound)
                return False
            await asyncio.sleep(0.02)
        return True

    async def drain(self, timeout_s: float) -> None:
        """After `share_ports`: close the connections, and return when none is left, or after `timeout_s`.

        Running requests are answered, and their clients told to connect again. Idle connections are closed.
        """
        state, loop = self.state, self.state.loop
        log.info("Another process has taken over the ports; waiting for %d connections", len(state.connections))
        state.is_draining = True
        for connection in list(state.connections):
            connection.drain()
        begun_s = loop.time()
        while state.connections or loop.time() < begun_s + port_handover.QUIET_S:
            if loop.time() > begun_s + timeout_s:
                return
            await asyncio.sleep(_DRAIN_CHECK_S)
            for connection in list(state.connections):
                connection.check_timeouts(loop.time())

    def _check_timeouts(self) -> None:
        loop = self.state.loop
        now_s = loop.time()
        for connection in list(self.state.connections):
            connection.check_timeouts(now_s)
        interval_s = min(address.limits.check_interval_s() for address in self._addresses)
        self._timer = loop.call_later(interval_s, self._check_timeouts)

    def _check_memory(self) -> None:
        self.state.budget.take_from_stalled()
        self._memory_timer = self.state.loop.call_later(_MEMORY_CHECK_S, self._check_memory)

    def _watch_stalls(self, due_s: float) -> None:
        """Record how late this callback is called, which is how long another callback held the event loop."""
        loop = self.state.loop
        now_s = loop.time()
        if now_s - due_s >= _STALL_S:
            self.state.recorder.loop_stalled(now_s - due_s)
        due_s = now_s + _STALL_CHECK_S
        self._stall_timer = loop.call_at(due_s, self._watch_stalls, due_s)


def _accept(state: ListenerState, limits: Limits, port: int | None) -> ShortReader:
    return ShortReader(_NewConnection(state, limits, port))


class _NewConnection(asyncio.Protocol):
    """A connection whose version of HTTP is not known yet."""

    def __init__(self, state: ListenerState, limits: Limits, port: int | None) -> None:
        self._state, self._limits, self._port = state, limits, port
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection if there is room for it."""
        self._transport = cast("asyncio.Transport", transport)
        self._opened_s = self._state.loop.time()
        state = self._state
        self._peer = _peer(transport)
        if self._peer:
            state.peers[self._peer] += 1
        if len(state.connections) >= state.max_connections:
            self._refuse("connections")
        elif state.peers[self._peer] > self._limits.max_connections_per_peer:
            self._refuse("connections_of_peer")
        else:
            state.connections.add(self)

    def _refuse(self, reason: str) -> None:
        self._state.recorder.request_rejected(reason)
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Pass the connection on to HTTP/2 if it begins with the preface of HTTP/2, otherwise to HTTP/1."""
        data = self._received + data
        if len(data) < len(PREFACE) and PREFACE.startswith(data):
            self._received = data
            return
        kind = Http2Connection if data.startswith(PREFACE) else Http1Connection
        connection = kind(self._state, self._limits, self._port, self._peer)
        self._state.connections.discard(self)
        self._transport.set_protocol(connection)
        connection.connection_made(self._transport)
        connection.data_received(data)

    def connection_lost(self, _error: Exception | None) -> None:
        """The client has left without a request."""
        self._state.disconnected(self, self._peer)

    def check_timeouts(self, now_s: float) -> None:
        """Close the connection if the client has sent nothing for too long."""
        longest_s = self._limits.header_timeout_s
        if self._state.is_draining and now_s - self._opened_s > DRAIN_IDLE_S:
            self._transport.close()
        elif longest_s is not None and now_s - self._opened_s > longest_s:
            self._state.recorder.request_rejected("header_timeout")
            self._transport.close()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def drain(self) -> None:
        """Nothing to do: the connection reads `is_draining` when its first bytes arrive."""


def _peer(transport: asyncio.BaseTransport) -> str:
    """The IP address of a client; empty for a UNIX socket."""
    name = transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else ""


def _remove_socket(path: str) -> None:
    """Remove the socket of another server, also one that is listened on, as TensorFlow Serving does. Other files stay.

    `app/listening` checks the path, but the models are loaded after that.
    """
    with suppress(OSError):  # `bind` says what is wrong with the path
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)


def _bind(address: Address) -> socket.socket:
    """A socket bound to an address. Raises OSError that names the address."""
    if address.path:
        _remove_socket(address.path)
        bound = socket.socket(socket.AF_UNIX)
        name: str | tuple[str, int] = address.path
    else:
        bound = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # :: includes IPv4
        name = address.host, address.port
        if port_handover.is_joining():
            port_handover.share(bound)
    try:
        bound.bind(name)
        bound.listen(_BACKLOG)
        bound.setblocking(False)
        if port_handover.is_joining() and not address.path:
            port_handover.prefer_newer(bound)
    except OSError as error:
        bound.close()
        raise OSError(
            f"cannot listen on {address.path or f'{address.host}:{address.port}'}: {error.strerror}"
        ) from error
    return bound
