"""The HTTP connection of the REST client: TLS, headers, proxies, UNIX sockets, and a deadline for a whole request."""

from __future__ import annotations

import gzip
import ssl
import time
from collections.abc import Callable

import httpx

from tfsctl.clients import addresses, tls
from tfsctl.clients.answer_body import read_body
from tfsctl.clients.connection import Connection
from tfsctl.errors import InvalidInput

_GZIP_LEVEL = 1  # on a fast network a higher level costs more time than it saves
_KEEPALIVE_S = 5.0


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
    # Plain HTTP needs no certificates, and reading the system's takes a fifth of the start-up time. This context
    # trusts no certificate, so nothing can use it for TLS.
    context = tls.ssl_context(connection.tls) if connection.tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if socket is not None:
        wire = wire or httpx.HTTPTransport(uds=socket, verify=context)
    try:
        return httpx.Client(
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


def send(
    http: httpx.Client, method: str, path: str, body: bytes | None, *, connection: Connection
) -> tuple[httpx.Response, bytes]:
    """Send one request; returns the response and its content.

    The timeout of httpx limits each read; this function also limits their sum. The connection's `max_answer_bytes`
    limits the content.

    Raises BodyTooLarge, httpx.HTTPError, and httpx.InvalidURL.
    """
    headers = {}
    if connection.compression == "gzip" and body is not None:
        body, headers = gzip.compress(body, _GZIP_LEVEL), {"Content-Encoding": "gzip"}
    started = time.monotonic()
    with http.stream(method, path, content=body, headers=headers) as response:
        content = read_body(response, max_bytes=connection.max_answer_bytes, started=started, limit_s=http.timeout.read)
    return response, content


def _hooks(connection: Connection) -> dict[str, list[Callable[[httpx.Request], None]]]:
    """The hook that has the server's certificate checked for another name than the host, if the connection says so."""
    if connection.tls is None or connection.tls.server_name is None:
        return {}
    name = connection.tls.server_name
    return {"request": [lambda request: request.extensions.update(sni_hostname=name)]}


def _shorter(connect_s: float | None, timeout_s: float) -> float:
    return timeout_s if connect_s is None else min(connect_s, timeout_s)
