"""Addresses and TCP ports to listen on: the number of a host, whether a port is taken, and two that are free."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from dataclasses import replace

from tfsctl.errors import InvalidInput
from tfsctl.serving_config.serving_config import ServingConfig


def address_of(host: str) -> str:
    """The number of a host given by name, as servers want it; IPv4 if it has one. Raises InvalidInput for no host."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"there is no host {host!r}: {error}", hint="--host 127.0.0.1") from None
    return str(min(found, key=lambda entry: entry[0] != socket.AF_INET)[4][0])


def is_taken(address: str, port: int) -> bool:
    """Whether a server could not listen there now. Raises InvalidInput for an address that is not this machine's."""
    try:
        _listen(address, port).close()
    except PermissionError:
        raise InvalidInput(f"port {port} needs the rights of root", hint="choose a port above 1023") from None
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise InvalidInput(f"this machine does not have the address {address}", hint="--host 127.0.0.1") from None
        return True
    return False


def with_free_ports(config: ServingConfig, address: str) -> ServingConfig:
    """The same config with a free port wherever it asks for port 0."""
    with ExitStack() as held:  # both are held until both are known, or they might be the same

        def free() -> int:
            port: int = held.enter_context(_listen(address, 0)).getsockname()[1]
            return port

        return replace(config, rest_port=config.rest_port or free(), grpc_port=config.grpc_port or free())


def _listen(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections do not count
        listener.bind((address, port))
        listener.listen()  # a port that was only bound with SO_REUSEADDR may still belong to a listener
    except OSError:
        listener.close()
        raise
    return listener
