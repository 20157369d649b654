"""The IP addresses that --host stands for."""

from __future__ import annotations

import socket
from functools import lru_cache

ALL_IPV4, ALL_IPV6 = "0.0.0.0", "::"  # noqa: S104 - what they are called


def ip_address(host: str) -> str:
    """The address to listen on. All of IPv4 includes all of IPv6 where there is any, as gRPC and REST of the real server.

    Raises OSError for a name that has none.
    """
    if host == ALL_IPV4:
        return ALL_IPV6 if _takes_both() else ALL_IPV4
    return str(socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)[0][4][0])


@lru_cache(maxsize=None)
def _takes_both() -> bool:
    """Whether a socket of IPv6 can be had that takes connections of IPv4 too."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            probe.bind((ALL_IPV6, 0))
    except OSError:
        return False
    return True
