"""Sockets that are listened on, and the connections that come in on them, whichever version of HTTP they speak."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from tfsctl.server.http.exchange import Application
from tfsctl.server.http.frames import PREFACE
from tfsctl.server.http.http1 import Http1Connection
from tfsctl.server.http.http2 import Http2Connection
from tfsctl.server.http.settings import Limits, Site

log = logging.getLogger(__name__)

_BACKLOG = 4096
_CLOSE_S = 5.0  # for what was written to leave


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a host and port, or the path of a UNIX socket. Over TLS with an ssl context."""

    host: str = ""
    port: int = 0
    path: str = ""
    tls: ssl.SSLContext | None = None
    limits: Limits = field(default_factory=Limits)


class Listener:
    """Serves an application on addresses. Make it on the event loop it will run on."""

    def __init__(self, application: Application, addresses: Sequence[Address], *, max_connections: int) -> None:
        self._site = Site(application, asyncio.get_running_loop(), max_connections)
        self._addresses = addresses
        self._servers: list[asyncio.AbstractServer] = []
        self._watch: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Listen; connections are taken from here on. Raises OSError, and then listens nowhere."""
        loop = self._site.loop
        with ExitStack() as undo:
            sockets = [undo.enter_context(_bound(address)) for address in self._addresses]
            undo.pop_all()
        for address, bound in zip(self._addresses, sockets, strict=True):
            accept = partial(_Unknown, self._site, address.limits, None if address.path else address.port)
            create = loop.create_unix_server if address.path else loop.create_server
            self._servers.append(await create(accept, sock=bound, ssl=address.tls, backlog=_BACKLOG))
        self._look_after()

    async def stop(self) -> None:
        """Close every connection, once what was written has left; some seconds at most."""
        if self._watch is not None:
            self._watch.cancel()
        for server in self._servers:
            server.close()
        for connection in list(self._site.connections):
            connection.close()
        end_s = self._site.loop.time() + _CLOSE_S
        while self._site.connections and self._site.loop.time() < end_s:  # noqa: ASYNC110 - an event would be set often
            await asyncio.sleep(0.01)

    def _look_after(self) -> None:
        loop = self._site.loop
        now_s = loop.time()
        for connection in list(self._site.connections):
            connection.look_after(now_s)
        every_s = min(address.limits.look_every_s() for address in self._addresses)
        self._watch = loop.call_later(every_s, self._look_after)


class _Unknown(asyncio.Protocol):
    """A connection that has not yet said which version of HTTP it speaks."""

    def __init__(self, site: Site, limits: Limits, port: int | None) -> None:
        self._site, self._limits, self._port = site, limits, port
        self._begun = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it in, if there is room."""
        self._transport = cast("asyncio.Transport", transport)
        self._opened_s = self._site.loop.time()
        if len(self._site.connections) >= self._site.max_connections:
            self._transport.abort()
        else:
            self._site.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """The first bytes tell: those of HTTP/2 are always the same."""
        data = self._begun + data
        if len(data) < len(PREFACE) and PREFACE.startswith(data):
            self._begun = data
            return
        kind = Http2Connection if data.startswith(PREFACE) else Http1Connection
        connection = kind(self._site, self._limits, self._port)
        self._site.connections.discard(self)
        self._transport.set_protocol(connection)
        connection.connection_made(self._transport)
        connection.data_received(data)

    def connection_lost(self, _error: Exception | None) -> None:
        """It left without a word."""
        self._site.connections.discard(self)

    def look_after(self, now_s: float) -> None:
        """Send it away when it has been silent for long."""
        if self._limits.max_idle_s is not None and now_s - self._opened_s > self._limits.max_idle_s:
            self._transport.close()

    def close(self) -> None:
        """End it."""
        self._transport.close()


def _bound(address: Address) -> socket.socket:
    """A socket with that address. Raises OSError saying which could not be had."""
    if address.path:
        with suppress(FileNotFoundError):
            os.unlink(address.path)  # of a server that is gone: whether it is was found out before
        bound = socket.socket(socket.AF_UNIX)
        name: str | tuple[str, int] = address.path
    else:
        bound = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # :: is all of IPv4 too
        name = address.host, address.port
    try:
        bound.bind(name)
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise OSError(
            f"cannot listen on {address.path or f'{address.host}:{address.port}'}: {error.strerror}"
        ) from error
    return bound
