"""Server addresses: formatting a host and port, UNIX sockets, and which hosts are this machine."""

from __future__ import annotations

import ipaddress
import re

from tfsctl.errors import InvalidInput

UNIX = "unix:"
GRPC_NAMES = (UNIX, "dns:", "ipv4:", "ipv6:")  # gRPC's name syntax, which includes the port
_NOT_IN_HOSTS = re.compile(r"[\s/?#@\\\[\]]")
_FOUR_NUMBERS = re.compile(r"\d+(?:\.\d+){3}", re.ASCII)
_MAX_LABEL, _MAX_NAME = 63, 253  # RFC 1035


def format_address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address. `unix:PATH` and other gRPC names are returned unchanged.

    Raises InvalidInput for a URL, and for other text that cannot be looked up.
    """
    if host.startswith(GRPC_NAMES):
        return host
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (_is_ip_address(bare) if ":" in bare or bare != host else _is_name(bare)):
        raise InvalidInput(
            f"{host!r} is not a host name or address", hint="give --host NAME and --port PORT, or --url URL"
        )
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_name(text: str) -> bool:
    """Whether a text is a host name that can be looked up, or an IPv4 address."""
    if _NOT_IN_HOSTS.search(text):
        return False
    if _FOUR_NUMBERS.fullmatch(text):
        return _is_ip_address(text)
    labels = text.removesuffix(".").split(".")
    if not text.isascii() or any(label.lower().startswith("xn--") for label in labels):
        import idna  # of httpx, which needs the name in both forms

        try:
            idna.decode(idna.encode(text))
        except UnicodeError:
            return False
        return True
    return len(text) <= _MAX_NAME and all(0 < len(label) <= _MAX_LABEL for label in labels)


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
