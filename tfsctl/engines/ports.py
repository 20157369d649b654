"""TCP ports: whether one is taken, and two that are free."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import replace

from tfsctl.core.serving_config import ServingConfig
from tfsctl.errors import InvalidInput


def is_taken(host: str, port: int) -> bool:
    """Whether a server could not listen there now. Raises InvalidInput for a host that is none of this machine's."""
    try:
        _listen(host, port).close()
    except PermissionError:
        raise InvalidInput(f"port {port} needs the rights of root", hint="choose a port above 1023") from None
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.strerror == "Cannot assign requested address":
            raise InvalidInput(
                f"this machine has no address {host}: {error.strerror}", hint="--host 127.0.0.1"
            ) from None
        return True
    return False


def with_free_ports(config: ServingConfig, host: str) -> ServingConfig:
    """The same config with a free port wherever it asks for port 0."""
    with ExitStack() as held:  # both are held until both are known, or they might be the same

        def free() -> int:
            port: int = held.enter_context(_listen(host, 0)).getsockname()[1]
            return port

        return replace(config, rest_port=config.rest_port or free(), grpc_port=config.grpc_port or free())


def _listen(host: str, port: int) -> socket.socket:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections do not count
        listener.bind(address)
        listener.listen()  # a port that was only bound with SO_REUSEADDR may still belong to a listener
    except OSError:
        listener.close()
        raise
    return listener
