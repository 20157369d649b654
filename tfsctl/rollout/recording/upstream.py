"""The server behind a recording proxy: its addresses for both protocols."""

from __future__ import annotations

from dataclasses import dataclass

from tfsctl.clients.connection import ClientTls
from tfsctl.errors import InvalidInput
from tfsctl.inputs.server_url import parse_server_url

_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class Upstream:
    """The server behind the proxy: the base URL of its REST API, and its gRPC address. One may be None."""

    name: str
    url: str | None
    grpc_address: str | None
    grpc_tls: ClientTls | None = None


def parse_address(text: str, option: str) -> tuple[str, int]:
    """`HOST:PORT`, or a port of this machine. Raises InvalidInput."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or len(port) > 5 or not 0 < int(port) <= _MAX_PORT:
        raise InvalidInput(f"{option} {text} is not HOST:PORT", hint=f"{option} 127.0.0.1:8601")
    return host.strip("[]") or "127.0.0.1", int(port)


def upstream_at(url: str | None, grpc_address: str | None) -> Upstream:
    """The server at these addresses. Raises InvalidInput if one of them is not valid."""
    if url is not None and parse_server_url(url).model is not None:
        raise InvalidInput(
            "--url names a model; the proxy needs the URL before /v1/models", hint="--url http://HOST:8501"
        )
    if grpc_address is not None:
        parse_address(grpc_address, "--grpc-address")
    return Upstream(url or grpc_address or "", url, grpc_address)
