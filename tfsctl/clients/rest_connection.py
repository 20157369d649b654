"""The HTTP connection of the REST client: TLS, headers, proxies, UNIX sockets, and a deadline for a whole request."""

from __future__ import annotations

import gzip
import math
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

import httpcore
import httpx

from tfsctl.clients import addresses, tls
from tfsctl.clients.answer_body import read_body
from tfsctl.clients.connection import Connection
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

_GZIP_LEVEL = 1  # on a fast network a higher level costs more time than it saves
_KEEPALIVE_S = 5.0
# A signal that arrives just before a system call does not interrupt the call, nor does one that another thread receives.
# Reads are therefore short, so that Ctrl-C always works.
_MAX_READ_S = 0.25
_MAX_WRITE_BYTES = 1 << 16


class _Deadline(threading.local):
    """The time on time.monotonic() when the request of the current thread must be answered."""

    at: float = math.inf

    def limit(self, timeout_s: float | None) -> float:
        """Return the shorter of a timeout and the time that is left. Never 0, which means non-blocking."""
        left_s = self.at - time.monotonic()
        return max(1e-3, left_s if timeout_s is None else min(timeout_s, left_s))

    def has_passed(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self.at


_deadline = _Deadline()


class _DeadlineStream(httpcore.NetworkStream):
    """A connection whose reads and writes end at the deadline of the request. httpx limits each one, not their sum."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read at most `max_bytes`. Raises httpcore.ReadTimeout, and KeyboardInterrupt soon after Ctrl-C."""
        if _deadline.has_passed():  # data may always be there
            raise httpcore.ReadTimeout("the answer was not complete within the time limit")
        until = time.monotonic() + _deadline.limit(timeout)
        while True:
            left_s = max(1e-3, until - time.monotonic())
            try:
                return self._stream.read(max_bytes, min(left_s, _MAX_READ_S))
            except httpcore.ReadTimeout:
                if time.monotonic() >= until:
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all bytes. Raises httpcore.WriteTimeout."""
        for start in range(0, len(buffer), _MAX_WRITE_BYTES):
            if _deadline.has_passed():
                raise httpcore.WriteTimeout("the request was not sent within the time limit")
            self._stream.write(buffer[start : start + _MAX_WRITE_BYTES], _deadline.limit(timeout))

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Start TLS."""
        return _DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, _deadline.limit(timeout)))

    def get_extra_info(self, info: str) -> object:
        """The socket, its addresses and the like."""
        return self._stream.get_extra_info(info)


class _DeadlineNetwork(httpcore.NetworkBackend):
    """The network, with connections that end at the deadline of the request."""

    def __init__(self, network: httpcore.NetworkBackend) -> None:
        self._network = network

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to a host."""
        limit_s = _deadline.limit(timeout)
        return _DeadlineStream(self._network.connect_tcp(host, port, limit_s, local_address, socket_options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        """Connect to a UNIX socket."""
        return _DeadlineStream(self._network.connect_unix_socket(path, _deadline.limit(timeout), socket_options))


@cache
def _context_without_certificates() -> ssl.SSLContext:
    """The TLS context of plain HTTP: reading the system's certificates takes a fifth of the start-up time.

    It trusts no certificate, so nothing can use it for TLS. All clients share it.
    """
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def open_http(
    host: str, port: int, connection: Connection, *, timeout_s: float, wire: httpx.BaseTransport | None = None
) -> httpx.Client:
    """An HTTP client for one server. `wire` replaces the network, for tests.

    Raises InvalidInput for an option that REST does not support, httpx.InvalidURL for an impossible address.
    """
    if connection.balancing is not None:
        raise InvalidInput("REST opens one connection; requests are spread over gRPC only", hint="add --grpc")
    socket = addresses.socket_path(host)
    at = "localhost" if socket is not None else addresses.format_address(host, port)
    context = tls.ssl_context(connection.tls) if connection.tls else _context_without_certificates()
    if socket is not None:
        wire = wire or httpx.HTTPTransport(uds=socket, verify=context)
    try:
        http = httpx.Client(
            base_url=f"{'https' if connection.tls else 'http'}://{at}{connection.path}",
            headers=[("accept-encoding", "gzip"), *((header.name, header.value) for header in connection.headers)],
            timeout=httpx.Timeout(timeout_s, connect=_shorter(connection.connect_timeout_s, timeout_s)),
            limits=httpx.Limits(keepalive_expiry=connection.keepalive_s or _KEEPALIVE_S),
            transport=wire,
            proxy=connection.proxy,
            trust_env=not addresses.is_local(host),
            verify=context,
            event_hooks=_hooks(connection),
        )
    except (ImportError, ValueError) as error:  # socks5://…, or no URL; httpx's own message would contain its password
        hint = "unset ALL_PROXY, HTTP_PROXY and HTTPS_PROXY, or pip install 'httpx[socks]'"
        raise InvalidInput("the environment names a proxy that cannot be used", hint=hint) from error
    for pool in _pools(http):
        pool._network_backend = _DeadlineNetwork(pool._network_backend)  # noqa: SLF001 - httpx has no option for it
    return http


def send(
    http: httpx.Client, method: str, path: str, body: bytes | None, *, connection: Connection
) -> tuple[httpx.Response, bytes]:
    """Send one request; returns the response and its content.

    The client's timeout limits the whole request, from connecting to the last byte of the answer. The connection's
    `max_answer_bytes` limits the content.

    Raises BodyTooLarge, httpx.HTTPError, and httpx.InvalidURL.
    """
    headers = {}
    if connection.compression == "gzip" and body is not None:
        body, headers = gzip.compress(body, _GZIP_LEVEL), {"Content-Encoding": "gzip"}
    _deadline.at = math.inf if http.timeout.read is None else time.monotonic() + http.timeout.read
    try:
        with http.stream(method, path, content=body, headers=headers) as response:
            return response, read_body(response, max_bytes=connection.max_answer_bytes)
    finally:
        _deadline.at = math.inf


def _pools(http: httpx.Client) -> Iterator[httpcore.ConnectionPool]:
    """The connection pools of a client: for the server, and for the proxies of the environment. None in tests."""
    for transport in (http._transport, *http._mounts.values()):  # noqa: SLF001 - see open_http
        if isinstance(transport, httpx.HTTPTransport):
            yield transport._pool  # noqa: SLF001


def _hooks(connection: Connection) -> dict[str, list[Callable[[httpx.Request], None]]]:
    """The hook that checks the server's certificate for `tls.server_name` instead of the host, if that is set."""
    if connection.tls is None or connection.tls.server_name is None:
        return {}
    name = connection.tls.server_name
    return {"request": [lambda request: request.extensions.update(sni_hostname=name)]}


def _shorter(connect_s: float | None, timeout_s: float) -> float:
    return timeout_s if connect_s is None else min(connect_s, timeout_s)
