"""`find_target`: choose the server and the model a command talks to, from its options and the running servers."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tfsctl.cli.options.server_options import ServerOptions
from tfsctl.clients.connection import DEFAULT_TIMEOUT_S, PLAIN, Connection, Transport
from tfsctl.clients.factory import open_client
from tfsctl.clients.serving_client import ServingClient
from tfsctl.core.types import DEFAULT_GRPC_PORT, DEFAULT_REST_PORT, ModelRef
from tfsctl.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from tfsctl.engines.server_record import ServerRecord

LOCALHOST = "localhost"


@dataclass(frozen=True, slots=True)
class Target:
    """One model on one server, and the server's port for each transport (0 if it has none)."""

    model: ModelRef
    host: str
    rest_port: int
    grpc_port: int
    transport: Transport
    timeout_s: float = DEFAULT_TIMEOUT_S
    connection: Connection = PLAIN

    @property
    def port(self) -> int:
        """The port for the transport. Raises InvalidInput if the server has none."""
        port = self.rest_port if self.transport == "rest" else self.grpc_port
        if not port:
            other = "--grpc" if self.transport == "rest" else "--rest"
            raise InvalidInput(f"the server of {self.model} has no {self.transport} port", hint=f"use {other}")
        return port

    def over(self, transport: Transport) -> Target:
        """Return the same model over another transport."""
        return replace(self, transport=transport)

    def connect(self) -> ServingClient:
        """Return a client for it. Raises InvalidInput if the server has no port for the transport."""
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # hides grpcio's log lines about failed handshakes
        return open_client(self.transport, self.host, self.port, timeout_s=self.timeout_s, connection=self.connection)


def find_target(options: ServerOptions, running: Sequence[ServerRecord]) -> Target:
    """Choose the model to talk to. `running` are the servers that tfsctl started and that still run.

    Raises NotFound if no server fits, and InvalidInput if several do or the options contradict each other.
    """
    if options.version is not None and options.label is not None:
        raise InvalidInput("--version and --label both choose a version", hint="give one of them")
    if options.host is not None or options.port is not None:
        return _target_at_address(options, running)
    if not running:
        if options.model is None:
            raise _no_running_server()
        return _target(options, options.model, LOCALHOST, DEFAULT_REST_PORT, DEFAULT_GRPC_PORT)
    candidates = [server for server in running if options.model is None or options.model in server.models]
    if not candidates:
        raise _unknown_model(options.model or "", running)
    if len(candidates) > 1:
        raise InvalidInput(
            f"several servers fit: {_list_servers(candidates)}", hint="choose one with --model NAME or --port PORT"
        )
    return _target_on(candidates[0], options)


def _no_running_server() -> NotFound:
    """The error if tfsctl started no server that runs. It names the server that ended last, if there is one."""
    from tfsctl.engines.exit_reasons import describe_status
    from tfsctl.engines.registry import records, server_log
    from tfsctl.engines.registry.tracked_server import ENDED

    ended = [server for server in records.list_servers() if server.state == ENDED]
    if not ended:
        return NotFound(
            "no model server is running that tfsctl started",
            hint="tfsctl serve PATH starts one; --model NAME --port PORT names another",
        )
    last = max(ended, key=lambda server: server.exit.ended_at if server.exit else 0.0)
    how = f" ({describe_status(last.exit.status)})" if last.exit else ""
    error = NotFound(
        f"no model server is running: {last.record.name} has ended{how}", hint=f"tfsctl restart {last.record.name}"
    )
    error.cause = server_log.exit_cause(last)
    return error


def _target_at_address(options: ServerOptions, running: Sequence[ServerRecord]) -> Target:
    """The model at --host and --port. If tfsctl started that server, its models and its other port are known."""
    port = options.port or (DEFAULT_REST_PORT if options.transport == "rest" else DEFAULT_GRPC_PORT)
    host = options.host or LOCALHOST
    for server in running:
        server_port = server.rest_port if options.transport == "rest" else server.grpc_port
        if server_port == port and options.host in (None, server.host, LOCALHOST):
            return _target_on(server, options)
    if options.model is None:
        address = host if host.startswith("unix:") else f"{host}:{port}"
        raise InvalidInput(f"which model at {address}?", hint="name it with --model NAME")
    if options.transport == "rest":
        return _target(options, options.model, host, port, DEFAULT_GRPC_PORT)
    return _target(options, options.model, host, DEFAULT_REST_PORT, port)


def _target_on(server: ServerRecord, options: ServerOptions) -> Target:
    if options.model is None and len(server.models) != 1:
        raise InvalidInput(
            f"{server.name} serves several models: {', '.join(server.models)}", hint="choose one with --model NAME"
        )
    host = options.host or server.host  # as the user typed it: a TLS certificate is for that name
    return _target(options, options.model or server.models[0], host, server.rest_port, server.grpc_port)


def _target(options: ServerOptions, model: str, host: str, rest_port: int, grpc_port: int) -> Target:
    ref = ModelRef(model, version=options.version, label=options.label)
    return Target(ref, host, rest_port, grpc_port, options.transport, options.timeout_s, options.connection)


def _unknown_model(name: str, running: Sequence[ServerRecord]) -> NotFound:
    known = [model for server in running for model in server.models]
    close = difflib.get_close_matches(name, known, n=1)
    return NotFound(
        f"no running server serves {name!r}; running: {_list_servers(running)}",
        hint=f"did you mean --model {close[0]}?" if close else "--port PORT asks a server that tfsctl did not start",
    )


def _list_servers(servers: Sequence[ServerRecord]) -> str:
    return ", ".join(
        f"{'+'.join(server.models)} (REST {server.rest_port}, gRPC {server.grpc_port})" for server in servers
    )
