"""Which server and model a command talks to: what the options say, else what tfsctl has running."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tfsctl.clients.connection import DEFAULT_TIMEOUT_S, PLAIN, Connection, Transport
from tfsctl.clients.factory import open_client
from tfsctl.clients.serving_client import ServingClient
from tfsctl.core.types import DEFAULT_GRPC_PORT, DEFAULT_REST_PORT, ModelRef
from tfsctl.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from tfsctl.engines.registry.records import RunningServer

LOCALHOST = "localhost"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options and variables say; None where they say nothing."""

    model: str | None = None
    host: str | None = None
    port: int | None = None
    version: int | None = None
    label: str | None = None
    transport: Transport = "rest"
    timeout_s: float = DEFAULT_TIMEOUT_S
    connection: Connection = PLAIN


@dataclass(frozen=True, slots=True)
class Target:
    """One model on one server, and the port of each transport (0: the server has none)."""

    model: ModelRef
    host: str
    rest_port: int
    grpc_port: int
    transport: Transport
    timeout_s: float = DEFAULT_TIMEOUT_S
    connection: Connection = PLAIN

    @property
    def port(self) -> int:
        """The port of the transport. Raises InvalidInput when the server has none."""
        port = self.rest_port if self.transport == "rest" else self.grpc_port
        if not port:
            other = "--grpc" if self.transport == "rest" else "--rest"
            raise InvalidInput(f"the server of {self.model} has no {self.transport} port", hint=f"use {other}")
        return port

    def over(self, transport: Transport) -> Target:
        """The same model over another transport."""
        return replace(self, transport=transport)

    def connect(self) -> ServingClient:
        """A client for it. Raises InvalidInput when the server has no port for the transport."""
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # its notes on a failed handshake; the error says it all
        return open_client(self.transport, self.host, self.port, timeout_s=self.timeout_s, connection=self.connection)


def named(asked: Asked, text: str | None) -> Asked:
    """What was asked, with the model of a positional `NAME` or `NAME@VERSION`. Raises InvalidInput if --model differs."""
    if text is None:
        return asked
    name, _, number = text.rpartition("@")
    if not name or not number.isdecimal():
        name, number = text, ""
    version = int(number) if number else None
    for option, given, other in (("--model", asked.model, name), ("--version", asked.version, version)):
        if None not in (given, other) and given != other:
            raise InvalidInput(f"{text} and {option} {given} contradict each other", hint="leave one out")
    return replace(asked, model=name, version=asked.version if version is None else version)


def find_target(asked: Asked, running: Sequence[RunningServer]) -> Target:
    """The model to talk to, given the servers tfsctl has running.

    Raises NotFound when there is none that fits, InvalidInput when there are several or the options contradict.
    """
    if asked.version is not None and asked.label is not None:
        raise InvalidInput("--version and --label both choose a version", hint="give one of them")
    if asked.host is not None or asked.port is not None:
        return _addressed(asked, running)
    if not running:
        if asked.model is None:
            raise NotFound(
                "no model server is running that tfsctl started",
                hint="tfsctl serve PATH starts one; --model NAME --port PORT names another",
            )
        return _target(asked, asked.model, LOCALHOST, DEFAULT_REST_PORT, DEFAULT_GRPC_PORT)
    fitting = [server for server in running if asked.model is None or asked.model in server.models]
    if not fitting:
        raise _unknown_model(asked.model or "", running)
    if len(fitting) > 1:
        raise InvalidInput(
            f"several servers fit: {_listed(fitting)}", hint="choose one with --model NAME or --port PORT"
        )
    return _on(fitting[0], asked)


def _addressed(asked: Asked, running: Sequence[RunningServer]) -> Target:
    """The server at --host and --port; one that tfsctl started there also tells its models and its other port."""
    port = asked.port or (DEFAULT_REST_PORT if asked.transport == "rest" else DEFAULT_GRPC_PORT)
    host = asked.host or LOCALHOST
    for server in running:
        at = server.rest_port if asked.transport == "rest" else server.grpc_port
        if at == port and asked.host in (None, server.host, LOCALHOST):
            return _on(server, asked)
    if asked.model is None:
        where = host if host.startswith("unix:") else f"{host}:{port}"
        raise InvalidInput(f"which model at {where}?", hint="name it with --model NAME")
    if asked.transport == "rest":
        return _target(asked, asked.model, host, port, DEFAULT_GRPC_PORT)
    return _target(asked, asked.model, host, DEFAULT_REST_PORT, port)


def _on(server: RunningServer, asked: Asked) -> Target:
    if asked.model is None and len(server.models) != 1:
        raise InvalidInput(
            f"{server.name} serves several models: {', '.join(server.models)}", hint="choose one with --model NAME"
        )
    host = asked.host or server.host  # as it was typed: a certificate is for a name
    return _target(asked, asked.model or server.models[0], host, server.rest_port, server.grpc_port)


def _target(asked: Asked, model: str, host: str, rest_port: int, grpc_port: int) -> Target:
    ref = ModelRef(model, version=asked.version, label=asked.label)
    return Target(ref, host, rest_port, grpc_port, asked.transport, asked.timeout_s, asked.connection)


def _unknown_model(name: str, running: Sequence[RunningServer]) -> NotFound:
    known = [model for server in running for model in server.models]
    close = difflib.get_close_matches(name, known, n=1)
    return NotFound(
        f"no running server serves {name!r}; running: {_listed(running)}",
        hint=f"did you mean --model {close[0]}?" if close else "--port PORT asks a server that tfsctl did not start",
    )


def _listed(servers: Sequence[RunningServer]) -> str:
    return ", ".join(
        f"{'+'.join(server.models)} (REST {server.rest_port}, gRPC {server.grpc_port})" for server in servers
    )
