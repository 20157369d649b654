"""The address of a server, and the options of the connection to it, as Python code gives them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tfsctl.clients.connection import ClientTls, Connection, Header, Transport
from tfsctl.core.types import DEFAULT_GRPC_PORT, ModelRef
from tfsctl.errors import InvalidInput
from tfsctl.inputs.server_url import parse_server_url

_HINT = '"localhost:8500" uses gRPC, "http://localhost:8501" uses REST'
_PORT_OF_SCHEME = {"http": 80, "https": 443, "grpc": DEFAULT_GRPC_PORT, "grpcs": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server, the transport to use, and the model if the address is the URL of one."""

    transport: Transport
    host: str
    port: int
    is_encrypted: bool = False
    path: str = ""
    model: ModelRef | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse `HOST:PORT`, `unix:PATH`, `grpc://…`, `grpcs://…`, `http://…` or `https://…`. Raises InvalidInput."""
        if not isinstance(text, str):
            raise InvalidInput(f"an address must be text, not of type {type(text).__name__}", hint=_HINT)
        if text.startswith("unix:"):
            return cls("grpc", text, 0)
        try:
            parts = urlsplit(text if "://" in text else f"grpc://{text}")
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidInput(f"{text!r} is not an address: {error}", hint=_HINT) from error
        known = _PORT_OF_SCHEME.get(parts.scheme)
        if known is None or not host or parts.username or parts.query or parts.fragment:
            raise InvalidInput(f"{text!r} is not an address", hint=_HINT)
        transport: Transport = "rest" if parts.scheme.startswith("http") else "grpc"
        if transport == "grpc" and parts.path.strip("/"):
            raise InvalidInput(f"{text!r} has a path, which gRPC has no use for", hint="http:// and https:// are REST")
        address = (transport, host, port or known, parts.scheme in ("https", "grpcs"))
        url = parse_server_url(text) if transport == "rest" else None
        if url is None or url.model is None:
            return cls(*address, parts.path.rstrip("/"))
        return cls(*address, url.path, ModelRef(url.model, url.version, url.label))


def tls_and_headers(
    *,
    tls: bool = False,
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    tls_server_name: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Connection:
    """A connection with these TLS files and headers. Raises InvalidInput for a key alone, or an invalid name or header."""
    if key is not None and cert is None:
        raise InvalidInput("key is the key of a certificate", hint='name the certificate with cert="FILE"')
    paths = [None if one is None else Path(one) for one in (ca, cert, key)]
    is_encrypted = tls or ca is not None or cert is not None or tls_server_name is not None
    return Connection(
        tls=ClientTls(*paths, server_name=tls_server_name) if is_encrypted else None,
        headers=tuple(Header.parse(f"{name}: {value}") for name, value in (headers or {}).items()),
    )
