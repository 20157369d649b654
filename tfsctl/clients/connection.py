"""Options of a connection, apart from the address: TLS, headers, proxy, timeouts. They apply to both transports."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

Transport = Literal["rest", "grpc"]
Compression = Literal["gzip"]
Balancing = Literal["round_robin"]
DEFAULT_TIMEOUT_S = 60.0
DEFAULT_MAX_ANSWER_BYTES = 256 << 20
MAX_TIMEOUT_S = 1e8  # about three years; sockets and locks accept about 1e9

# Most commands use none of these patterns, so `re` compiles them when they are first used.
_HEADER_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_HEADER_VALUE = r"[\x20-\x7e]*"
_SERVER_NAME = r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*|[0-9A-Fa-f:]*:[0-9A-Fa-f.:]*"
_VARIABLE = r"(?:(?P<prefix>\S.*) )?(?P<name>[A-Za-z_][A-Za-z0-9_]*)"


@dataclass(frozen=True, slots=True)
class ClientTls:
    """The PEM files of a TLS client, and the name that the server's certificate must have.

    `ca`: the certificate authority to trust (default: the system's). `cert`, `key`: the client's own certificate and key.
    `server_name`: the name in the server's certificate (default: the host).
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Raise InvalidInput if `server_name` is neither a host name nor an IP address."""
        if self.server_name is not None and not re.fullmatch(_SERVER_NAME, self.server_name):
            raise InvalidInput(
                f"{self.server_name!r} is not a name in a certificate", hint="use a name such as serving.example.com"
            )

    def over(self, base: ClientTls | None) -> ClientTls:
        """Return these files, with those of `base` for what is not set here. A certificate and its key stay together."""
        if base is None:
            return self
        cert, key = (base.cert, base.key) if self.cert is None else (self.cert, self.key)
        return ClientTls(self.ca or base.ca, cert, key, server_name=self.server_name or base.server_name)


@dataclass(frozen=True, slots=True)
class Header:
    """One HTTP header or gRPC metadata entry. The value may be a secret, so it is never printed.

    `variable` is the environment variable that holds the secret; `prefix` is the text before it (`Bearer `).
    """

    name: str
    value: str = field(repr=False)
    variable: str = ""
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> Header:
        """Parse `name: value`. Raises InvalidInput; its message does not contain the value."""
        name, colon, value = text.partition(":")
        if not colon:
            raise InvalidInput("a header is NAME:VALUE", hint='-H "x-tenant: acme"')
        return cls._checked(name.strip(), value.strip())

    @classmethod
    def from_environment(cls, text: str, environment: Mapping[str, str] = os.environ) -> Header:
        """Parse `name=VARIABLE` or `name=SCHEME VARIABLE`, as in `authorization=Bearer TOKEN`.

        Raises InvalidInput if the variable is not set.
        """
        name, _, rest = text.partition("=")
        match = re.fullmatch(_VARIABLE, rest.strip())
        if match is None:
            raise InvalidInput(
                f"{text!r} is not of the form NAME=VAR", hint="--header-env 'authorization=Bearer TOKEN'"
            )
        variable = match["name"]
        if variable not in environment:
            raise InvalidInput(f"the environment variable is not set: {variable}", hint=f"export {variable}=…")
        prefix = f"{match['prefix']} " if match["prefix"] else ""
        return cls._checked(name.strip(), prefix + environment[variable].strip(), variable, prefix)

    @classmethod
    def _checked(cls, name: str, value: str, variable: str = "", prefix: str = "") -> Header:
        if not re.fullmatch(_HEADER_NAME, name):
            raise InvalidInput(f"{name!r} is not a valid header name")
        if not re.fullmatch(_HEADER_VALUE, value):
            raise InvalidInput(f"the value of the header {name} contains characters that are not allowed in a header")
        return cls(name, value, variable, prefix)


@dataclass(frozen=True, slots=True)
class Connection:
    """The options of a connection. The defaults suit a server on this machine.

    - `path`: the URL path in front of `/v1/models`, for a gateway (REST only).
    - `keepalive_s`: gRPC: the interval of keepalive pings; REST: how long an idle connection stays open.
    - `balancing`: how gRPC spreads requests over the addresses of a host name.
    - `max_answer_bytes`: the client stops reading a larger answer; over REST, its size after decompression.
    - `capture_requests`: requests that run a model are not sent, but raised as RequestCaptured.
    """

    tls: ClientTls | None = None
    headers: tuple[Header, ...] = ()
    path: str = ""
    proxy: str | None = field(default=None, repr=False)
    connect_timeout_s: float | None = None
    compression: Compression | None = None
    keepalive_s: float | None = None
    balancing: Balancing | None = None
    max_answer_bytes: int = DEFAULT_MAX_ANSWER_BYTES
    capture_requests: bool = False

    def __post_init__(self) -> None:
        """Raise InvalidInput if `proxy` is not the URL of a proxy. The message does not contain the URL's password."""
        if self.proxy is not None and not self.proxy_address:
            raise InvalidInput("--proxy is not the URL of an HTTP proxy", hint="--proxy http://HOST:PORT")

    @property
    def proxy_address(self) -> str:
        """`host:port` of the proxy, without user and password; empty without a proxy, or if its URL is invalid."""
        if self.proxy is None:
            return ""
        from urllib.parse import urlsplit

        try:
            parts = urlsplit(self.proxy)
            port = parts.port
        except ValueError:
            return ""
        return f"{parts.hostname}:{port or 80}" if parts.scheme == "http" and parts.hostname else ""

    def route(self, address: str) -> str:
        """The address, and the proxy in front of it, for errors: either may be the one that does not answer."""
        return f"{address} through the proxy {self.proxy_address}" if self.proxy else address


DEFAULT_CONNECTION = Connection()


def check_timeout(name: str, seconds: float) -> None:
    """Raise InvalidInput if a timeout is not a number above 0 and up to MAX_TIMEOUT_S. `name` is the parameter's name."""
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise InvalidInput(
            f"{name} is {seconds:g}, and not a positive number of seconds", hint=f"use {name}={DEFAULT_TIMEOUT_S:g}"
        )


def with_headers(base: Sequence[Header], more: Sequence[Header]) -> tuple[Header, ...]:
    """Return all headers. A header of `more` replaces one of the same name."""
    replaced = {header.name.lower() for header in more}
    return (*(header for header in base if header.name.lower() not in replaced), *more)
