"""Addresses and TCP ports of this machine: resolve a host, test a port, pick free ports."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from dataclasses import replace

from tfsctl.errors import EngineError, InvalidInput
from tfsctl.programs.listening_socket import open_listener
from tfsctl.serving_config.serving_config import ServingConfig


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


def with_free_ports(config: ServingConfig, address: str) -> ServingConfig:
    """Replace each port 0 of the config with a free port.

    Raises InvalidInput for an address that this machine does not have, EngineError if no port can be opened.
    """
    with ExitStack() as held:  # both sockets stay open until both ports are known, so the ports differ

        def free_port() -> int:
            try:
                port: int = held.enter_context(_listen(address, 0)).getsockname()[1]
            except OSError as error:
                raise EngineError(f"cannot open a port of {address}: {error.strerror}") from error
            return port

        return replace(config, rest_port=config.rest_port or free_port(), grpc_port=config.grpc_port or free_port())


def _listen(address: str, port: int) -> socket.socket:
    try:
        return open_listener(address, port)
    except PermissionError:
        raise InvalidInput(f"port {port} needs root privileges", hint="choose a port above 1023") from None
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise InvalidInput(f"this machine does not have the address {address}", hint="--host 127.0.0.1") from None
        raise
