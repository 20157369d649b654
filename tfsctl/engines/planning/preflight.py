"""Checks before a server starts: its name and its ports must be free, and its variables set."""

from __future__ import annotations

import os
from collections.abc import Iterable

from tfsctl.engines import ports
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import EngineError, InvalidInput


def check_environment(environment: Iterable[tuple[str, str | None]]) -> None:
    """Raise InvalidInput for a variable that is copied from our environment and is not set there."""
    for name, value in environment:
        if value is None and name not in os.environ:
            raise InvalidInput(
                f"--env {name} takes the value of the variable {name}, which is not set",
                hint=f"export {name}=VALUE, or --env {name}=VALUE",
            )


def check_free(name: str, host: str, wanted_ports: Iterable[int], running: Iterable[ServerRecord]) -> None:
    """Raise EngineError if the name or a port is in use, naming the server of ours that uses it.

    Port 0 (any free port) is not checked. Raises InvalidInput if one port is wanted twice.
    """
    running = list(running)
    for server in running:
        if server.name == name:
            raise EngineError(
                f"a server named {name} runs already, at {server.url} ({server.engine})",
                hint=f"tfsctl stop {name}, or --name ANOTHER_NAME",
            )
    fixed = [port for port in wanted_ports if port]
    if len(set(fixed)) < len(fixed):
        raise InvalidInput(f"REST and gRPC cannot share port {fixed[0]}", hint="--grpc-port 0 takes a free one")
    for port in fixed:
        if not ports.is_taken(host, port):
            continue
        user = next((s for s in running if port in (s.rest_port, s.grpc_port)), None)
        by = f" by the server {user.name} ({user.engine})" if user else ""
        stop = f"tfsctl stop {user.name}, or " if user else ""
        raise EngineError(
            f"port {port} of {host} is in use{by}", hint=f"{stop}--rest-port 0 --grpc-port 0 take free ones"
        )
