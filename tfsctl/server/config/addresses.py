"""IP addresses: resolves --host, and tells whether a client is on this machine."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from functools import lru_cache

ALL_IPV4, ALL_IPV6 = "0.0.0.0", "::"  # noqa: S104 - their usual names


def ip_address(host: str) -> str:
    """The address to listen on. If the machine has IPv6, 0.0.0.0 includes it, as in TensorFlow Serving.

    Raises OSError for a name without an address.
    """
    if host == ALL_IPV4:
        return ALL_IPV6 if _has_dual_stack() else ALL_IPV4
    return str(socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)[0][4][0])


@lru_cache(maxsize=None)
def _has_dual_stack() -> bool:
    """Whether an IPv6 socket that accepts IPv4 connections too can be bound."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            probe.bind((ALL_IPV6, 0))
    except OSError:
        return False
    return True


def is_on_this_machine(transport: asyncio.BaseTransport) -> bool:
    """Whether the client of a connection runs on this machine.

    It does if it uses a UNIX socket, a loopback address, or the same address as the server's end of the connection.
    """
    client, server = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    if not isinstance(server, tuple):
        return isinstance(server, (str, bytes))  # the path of a UNIX socket
    if not isinstance(client, tuple):
        return False
    address = ipaddress.ip_address(str(client[0]).partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback or bool(client[0] == server[0])
