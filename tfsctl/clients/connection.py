"""How a server is reached, apart from where it is: encryption, headers, proxy, limits. The same for both transports."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

Transport = Literal["rest", "grpc"]
Compression = Literal["gzip"]
Balancing = Literal["round_robin"]
DEFAULT_TIMEOUT_S = 60.0

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_VARIABLE = re.compile(r"(?:(?P<before>\S.*) )?(?P<name>[A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class ClientTls:
    """What TLS trusts and shows, as PEM files: the authority (else the system's), a certificate of its own and its key."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """One HTTP header, or gRPC metadata entry. The value may be a secret: it is never shown.

    `variable` is the environment variable it came from, and `before` what stands before that in the value (`Bearer `).
    """

    name: str
    value: str = field(repr=False)
    variable: str = ""
    before: str = ""

    @classmethod
    def written(cls, text: str) -> Header:
        """The header of `name: value`. Raises InvalidInput, without the value, for what is none."""
        name, colon, value = text.partition(":")
        if not colon:
            raise InvalidInput("a header has a name, a colon and a value", hint='-H "x-tenant: acme"')
        return cls._checked(name.strip(), value.strip())

    @classmethod
    def from_environment(cls, text: str, environment: Mapping[str, str] = os.environ) -> Header:
        """The header of `name=VARIABLE` or `name=SCHEME VARIABLE`, as in `authorization=Bearer TOKEN`.

        Raises InvalidInput when there is no such variable.
        """
        name, _, rest = text.partition("=")
        match = _VARIABLE.fullmatch(rest.strip())
        if match is None:
            raise InvalidInput(
                f"{text!r} does not name a header and a variable", hint="--header-env 'authorization=Bearer TOKEN'"
            )
        variable = match["name"]
        if variable not in environment:
            raise InvalidInput(f"the environment has no variable {variable}", hint=f"export {variable}=…")
        before = f"{match['before']} " if match["before"] else ""
        return cls._checked(name.strip(), before + environment[variable].strip(), variable, before)

    @classmethod
    def _checked(cls, name: str, value: str, variable: str = "", before: str = "") -> Header:
        if not _HEADER_NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} is no name of a header")
        if not _HEADER_VALUE.fullmatch(value):
            raise InvalidInput(f"the value of the header {name} has characters that no header can carry")
        return cls(name, value, variable, before)


@dataclass(frozen=True, slots=True)
class Connection:
    """How to speak to a server. The plain one suits a server of this machine.

    `path` stands before `/v1/models` where a gateway wants it (REST). `keepalive_s` is how often an idle connection shows
    that it is alive. `balancing` is how gRPC spreads requests over the addresses of a host name. With `capture_requests`
    what would run a model is raised as RequestCaptured instead of sent.
    """

    tls: ClientTls | None = None
    headers: tuple[Header, ...] = ()
    path: str = ""
    proxy: str | None = field(default=None, repr=False)
    connect_timeout_s: float | None = None
    compression: Compression | None = None
    keepalive_s: float | None = None
    balancing: Balancing | None = None
    capture_requests: bool = False

    def __post_init__(self) -> None:
        """Raise InvalidInput, without the password it may hold, for what is no URL of a proxy."""
        if self.proxy is not None and not self.proxy_address:
            raise InvalidInput("--proxy is no URL of an HTTP proxy", hint="--proxy http://HOST:PORT")

    @property
    def proxy_address(self) -> str:
        """The proxy's `host:port`, without name and password; empty for none, or for text that names none."""
        if self.proxy is None:
            return ""
        from urllib.parse import urlsplit

        try:
            parts = urlsplit(self.proxy)
            port = parts.port
        except ValueError:
            return ""
        return f"{parts.hostname}:{port or 80}" if parts.scheme == "http" and parts.hostname else ""


PLAIN = Connection()
