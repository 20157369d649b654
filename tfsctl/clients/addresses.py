"""Server addresses: formatting a host and port, UNIX sockets, and which hosts are this machine."""

from __future__ import annotations

import re

from tfsctl.errors import InvalidInput

UNIX = "unix:"
GRPC_NAMES = (UNIX, "dns:", "ipv4:", "ipv6:")  # gRPC's name syntax, which includes the port
_NOT_IN_HOSTS = re.compile(r"[\s/?#@]")


def format_address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address. `unix:PATH` and other gRPC names are returned unchanged.

    Raises InvalidInput for a URL or other text.
    """
    if host.startswith(GRPC_NAMES):
        return host
    if not host or _NOT_IN_HOSTS.search(host):
        raise InvalidInput(
            f"{host!r} is not a host name or address", hint="give --host NAME and --port PORT, or --url URL"
        )
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def unix_path(host: str) -> str | None:
    """The path of a UNIX socket (`unix:PATH` or `unix:///PATH`); None for any other host."""
    return host.removeprefix(UNIX).removeprefix("//") if host.startswith(UNIX) else None


def socket_path(host: str) -> str | None:
    """The path of a UNIX socket for REST; None for a host name or IP address. Raises InvalidInput for gRPC's names."""
    if host.startswith(GRPC_NAMES) and not host.startswith(UNIX):
        raise InvalidInput(
            f"{host!r} is an address for gRPC only", hint="add --grpc, or give --host NAME and --port PORT"
        )
    return unix_path(host)


def is_local(host: str) -> bool:
    """Whether a host is this machine. Requests to it must not go through a proxy from the environment."""
    bare = host.strip("[]").lower()
    return (
        bare in ("localhost", "::1", "::", "0.0.0.0")  # noqa: S104 - compared, never bound
        or bare.startswith((UNIX, "127."))
        or bare.endswith(".localhost")
    )
