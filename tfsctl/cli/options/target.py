"""`find_target`: choose the server and the model a command talks to, from its options and the running servers."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tfsctl.cli.options.server_options import ServerOptions
from tfsctl.clients.connection import DEFAULT_CONNECTION, DEFAULT_TIMEOUT_S, ClientTls, Connection, Transport
from tfsctl.core.types import DEFAULT_GRPC_PORT, DEFAULT_REST_PORT, ModelRef
from tfsctl.errors import InvalidInput, NotFound, ServerUnreachable

if TYPE_CHECKING:
    from tfsctl.clients.serving_client import ServingClient
    from tfsctl.engines.server_record import ServerRecord

LOCALHOST = "localhost"
_CONNECT_S = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """One model on one server, and the server's port for each transport (0 if it has none).

    `grpc_tls` is used for gRPC in the place of the TLS of `connection`, if it is known. `server` is the name of the server
    if tfsctl started it.
    """

    model: ModelRef
    host: str
    rest_port: int
    grpc_port: int
    transport: Transport
    timeout_s: float = DEFAULT_TIMEOUT_S
    connection: Connection = DEFAULT_CONNECTION
    grpc_tls: ClientTls | None = None
    server: str | None = field(default=None, compare=False)

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
        from tfsctl.clients.factory import open_client

        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # hides grpcio's log lines about failed handshakes
        has_own_tls = self.transport == "grpc" and self.grpc_tls is not None
        connection = replace(self.connection, tls=self.grpc_tls) if has_own_tls else self.connection
        return open_client(self.transport, self.host, self.port, timeout_s=self.timeout_s, connection=connection)


def find_target(options: ServerOptions, running: Sequence[ServerRecord]) -> Target:
    """Choose the model to talk to. `running` are the servers that tfsctl started and that still run.

    Raises NotFound if no server fits, and InvalidInput if several do or the options cannot be used together.
    """
    if options.version is not None and options.label is not None:
        raise InvalidInput("--version and --label cannot be used together", hint="remove one of them")
    if options.host is not None or options.port is not None:
        return _target_at_address(options, running)
    from tfsctl.engines.registry.server_choice import choose_server, no_running_server

    if not running and options.server is None:
        if options.model is None:
            raise no_running_server()
        return _target_at_default_ports(options, options.model)
    try:
        return _target_on(choose_server(running, model=options.model, name=options.server), options)
    except NotFound as error:
        if options.model_is_argument:
            error.hint = error.hint.replace("did you mean --model ", "did you mean ")
        raise


def _target_at_default_ports(options: ServerOptions, model: str) -> Target:
    """The model on a server that tfsctl did not start.

    If nothing listens there, and a server that tfsctl started had the model, raises the error that tells what became of it.
    """
    from tfsctl.engines.registry.server_choice import ended_server_of

    target = _target(options, model, LOCALHOST, DEFAULT_REST_PORT, DEFAULT_GRPC_PORT)
    ended = ended_server_of(model)
    if ended is not None and not _is_listening(target.port):
        raise ended
    return target


def _is_listening(port: int) -> bool:
    """Whether a program on this machine accepts connections on a port."""
    try:
        socket.create_connection((LOCALHOST, port), timeout=_CONNECT_S).close()
    except OSError:
        return False
    return True


def _target_at_address(options: ServerOptions, running: Sequence[ServerRecord]) -> Target:
    """The model at --host and --port. If tfsctl started that server, its models and its other port are known."""
    port = options.port or (DEFAULT_REST_PORT if options.transport == "rest" else DEFAULT_GRPC_PORT)
    host = options.host or LOCALHOST
    for server in running:
        server_port = server.rest_port if options.transport == "rest" else server.grpc_port
        if options.host not in (None, server.host, LOCALHOST):
            continue
        if server_port == port:
            return _target_on(server, options)
        if port in (server.rest_port, server.grpc_port):
            raise _wrong_port(server, port)
    if options.model is None:
        address = host if host.startswith("unix:") else f"{host}:{port}"
        raise InvalidInput(f"the model at {address} is not named", hint="add --model NAME")
    if options.transport == "rest":
        return _target(options, options.model, host, port, DEFAULT_GRPC_PORT)
    return _target(options, options.model, host, DEFAULT_REST_PORT, port)


def _wrong_port(server: ServerRecord, port: int) -> ServerUnreachable:
    """The error for the REST port of a server with gRPC, or the other way round."""
    if port == server.grpc_port:
        hint = "add --grpc" + (f", or use --port {server.rest_port}" if server.rest_port else "")
        return ServerUnreachable(f"port {port} is the gRPC port of {server.name}, not its REST port", hint=hint)
    hint = "remove --grpc" + (f", or use --port {server.grpc_port}" if server.grpc_port else "")
    return ServerUnreachable(f"port {port} is the REST port of {server.name}, not its gRPC port", hint=hint)


def _target_on(server: ServerRecord, options: ServerOptions) -> Target:
    if options.model is None and len(server.models) != 1:
        raise InvalidInput(
            f"{server.name} serves several models: {', '.join(server.models)}", hint="choose one with --model NAME"
        )
    host = options.host or server.host  # as the user typed it: a TLS certificate is for that name
    found = replace(
        _target(options, options.model or server.models[0], host, server.rest_port, server.grpc_port),
        server=server.name,
    )
    if server.certificate is None or options.transport != "grpc":
        return found
    from tfsctl.engines.registry.server_choice import grpc_tls

    return replace(found, grpc_tls=grpc_tls(server, options.connection.tls))


def _target(options: ServerOptions, model: str, host: str, rest_port: int, grpc_port: int) -> Target:
    ref = ModelRef(model, version=options.version, label=options.label)
    return Target(ref, host, rest_port, grpc_port, options.transport, options.timeout_s, options.connection)
