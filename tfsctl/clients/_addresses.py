"""Hosts and ports: how they are written, and which are this machine."""

from __future__ import annotations

import re

from tfsctl.errors import InvalidInput

_NOT_IN_HOSTS = re.compile(r"[\s/?#@]")


def written(host: str, port: int) -> str:
    """`host:port`, with the brackets an IPv6 address needs. Raises InvalidInput for a URL or other text."""
    if not host or _NOT_IN_HOSTS.search(host):
        raise InvalidInput(f"{host!r} is not a host name or address", hint="give --host NAME and --port PORT")
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def is_local(host: str) -> bool:
    """Whether the host is this machine, where a proxy from the environment must not come between."""
    bare = host.strip("[]").lower()
    return bare in ("localhost", "::1", "::", "0.0.0.0") or bare.startswith("127.") or bare.endswith(".localhost")  # noqa: S104 - compared, never bound
