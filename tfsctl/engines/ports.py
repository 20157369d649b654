"""Addresses and TCP ports of this machine: resolve a host, test a port, pick free ports."""

from __future__ import annotations

import errno
import itertools
import random
import socket
from dataclasses import replace

from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.errors import EngineError, InvalidInput
from tfsctl.programs.listening_socket import open_listener

_CANDIDATES = range(20_480, 32_768)
"""Below the ports that Linux gives to clients' connections (`net.ipv4.ip_local_port_range`). A front chooses the ports of
its second server long before that server starts, and a connection must not take them meanwhile."""
_ATTEMPTS = 100


def resolve_host(host: str) -> str:
    """The IP address of a host, IPv4 if it has one. Raises InvalidInput if it cannot be resolved."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"unknown host {host!r}: {error}", hint="--host 127.0.0.1") from None
    return str(min(found, key=lambda entry: entry[0] != socket.AF_INET)[4][0])


def is_taken(address: str, port: int) -> bool:
    """Whether another socket listens on the port.

    Raises InvalidInput for a privileged port, and for an address that this machine does not have.
    """
    try:
        _listen(address, port).close()
    except OSError:
        return True
    return False


def with_free_ports(spec: LaunchSpec) -> LaunchSpec:
    """Replace each port 0 with a free port: to TensorFlow Serving, port 0 means off. Raises what `free_ports` raises."""
    config = spec.config
    if config.rest_port and config.grpc_port:
        return spec
    rest_port, grpc_port = free_ports(spec.host)
    config = replace(config, rest_port=config.rest_port or rest_port, grpc_port=config.grpc_port or grpc_port)
    return replace(spec, config=config)


def free_ports(address: str) -> tuple[int, int]:
    """Two different ports of an address that no socket listens on.

    Raises InvalidInput for an address that this machine does not have, EngineError if no port can be opened.
    """
    candidates = random.sample(_CANDIDATES, _ATTEMPTS)
    free = list(itertools.islice((port for port in candidates if not is_taken(address, port)), 2))
    if len(free) < 2:
        raise EngineError(f"cannot open a port of {address}: {_ATTEMPTS} ports are in use")
    return free[0], free[1]


def _listen(address: str, port: int) -> socket.socket:
    try:
        return open_listener(address, port)
    except PermissionError:
        raise InvalidInput(f"port {port} needs root privileges", hint="choose a port above 1023") from None
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise InvalidInput(f"this machine does not have the address {address}", hint="--host 127.0.0.1") from None
        raise
