"""From a model's directory to a server that answers: plan, start, wait, and take it away again if it does not."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfsctl.core.serving_config import ServingConfig
from tfsctl.core.types import DEFAULT_GRPC_PORT, DEFAULT_REST_PORT, ModelRef
from tfsctl.engines import _processes, docker, ports, preflight, registry
from tfsctl.engines.choice import ENGINES, choose
from tfsctl.engines.launch import DEFAULT_IMAGE, ContainerOptions, EngineName, Launch, Started
from tfsctl.engines.registry import RunningServer
from tfsctl.errors import DockerError, EngineError, NotReadyInTime, TfsctlError

POLL_S = 0.05
LONGEST_LINE = 300  # of a log that is shown; a server's own configuration runs to thousands of characters


class Interrupted(Exception):
    """The wait was given up because `give_up` said so."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A server as it will be started, with everything on disk checked. `reason` says why this engine was chosen."""

    found: preflight.Found
    engine: EngineName
    reason: str
    launch: Launch

    def command(self) -> list[str]:
        """The command line, for people to paste."""
        return ENGINES[self.engine].command(self.launch)


@dataclass(frozen=True, slots=True)
class Server:
    """A server this process started, and that answers."""

    entry: RunningServer
    started: Started

    def ended(self) -> int | None:
        """Its exit status (negative: the signal that ended it), or None while it runs."""
        return self.started.ended()

    def failure(self) -> TfsctlError | None:
        """The error to raise if it ended by itself; None if it runs, or someone stopped it."""
        status = self.ended()
        if status is None or status in (0, -signal.SIGTERM, 128 + signal.SIGTERM):
            return None
        return _ended_error(self, status, "")

    def stop(self) -> None:
        """End it and forget it."""
        self.started.stop()
        registry.unregister(self.entry)

    def leave_running(self) -> None:
        """Let it outlive this process, listed for `tfsctl stop`."""
        self.started.leave_running()


def plan(
    path: Path,
    *,
    engine: EngineName | Literal["auto"] = "auto",
    name: str | None = None,
    host: str = "127.0.0.1",
    rest_port: int = DEFAULT_REST_PORT,
    grpc_port: int = DEFAULT_GRPC_PORT,
    image: str = DEFAULT_IMAGE,
) -> Plan:
    """Check the model and choose the engine. A port of 0 is a free one. Raises what preflight and `choose` raise."""
    found = preflight.find_model(path, name=name)
    chosen, reason = choose(engine)
    config = ServingConfig((found.model,), grpc_port=grpc_port, rest_port=rest_port)
    container = ContainerOptions(image=image)
    launch = Launch(found.model.name, config, ports.address_of(host), container=container)
    return Plan(found, chosen, reason, launch)


def start(
    planned: Plan, *, detach: bool, wait_timeout_s: float = 60.0, give_up: Callable[[], bool] = lambda: False
) -> Server:
    """Start the server and return once the model is AVAILABLE; on any failure nothing is left of it.

    Its log goes to our stderr, or with `detach` to a file or to Docker. Raises EngineError (DockerError) when it cannot
    be started or ends early, NotReadyInTime at the deadline, Interrupted once `give_up()` is true.
    """
    launch, config = planned.launch, planned.launch.config
    ENGINES[planned.engine].check()
    preflight.check_free(launch.name, launch.host, (config.rest_port, config.grpc_port), registry.running())
    deadline = time.monotonic() + wait_timeout_s
    while True:
        server = _launch(planned, detach=detach)
        try:
            _wait_until_available(server, planned, deadline, give_up)
        except BaseException:
            lost_port = _lost_port(server, planned) and time.monotonic() < deadline
            server.stop()
            if not lost_port:
                raise
        else:
            return server


def stop(entry: RunningServer) -> None:
    """Stop a server whichever process started it, and forget it. Returns when it is gone. Raises DockerError."""
    if entry.container is not None:
        docker.stop(entry.container)
    elif entry.pid is not None:
        _processes.stop(entry.pid)
    registry.unregister(entry)


def _launch(planned: Plan, *, detach: bool) -> Server:
    launch = planned.launch
    started = ENGINES[planned.engine].start(launch, detach=detach)
    entry = registry.entry_of(launch, planned.engine, started)
    try:
        registry.register(entry, launch=launch.to_document())
    except BaseException:
        started.stop()
        raise
    return Server(entry, started)


def _wait_until_available(server: Server, planned: Plan, deadline: float, give_up: Callable[[], bool]) -> None:
    from tfsctl.clients.rest import RestClient

    entry, found = server.entry, planned.found
    model = ModelRef(found.model.name, version=found.version if found.pinned else None)
    with RestClient(entry.host, entry.rest_port, timeout_s=2.0) as client:
        while True:
            if give_up():
                raise Interrupted
            status = server.ended()
            if status is not None:
                raise _ended_error(server, status, " before it was ready")
            try:
                versions = client.status(model)
                said = ", ".join(f"version {v.version} is {v.state} {v.error_message}".strip() for v in versions)
            except TfsctlError as error:  # it does not listen yet, or does not know the model yet
                versions, said = (), error.message
            if any(version.state == "AVAILABLE" for version in versions):
                return
            if time.monotonic() > deadline:
                raise NotReadyInTime(
                    f"{model} is not AVAILABLE in time ({said}); {_log_end(server)}",
                    hint="--wait-timeout SECONDS waits longer",
                )
            time.sleep(POLL_S)


def _ended_error(server: Server, status: int, when: str) -> TfsctlError:
    """The error for a server that ended by itself."""
    kind = EngineError if server.entry.container is None else DockerError
    how = f"ended with status {status}" if status >= 0 else f"was ended by {signal.Signals(-status).name}"
    return kind(f"the model server {how}{when}; {_log_end(server)}")


def _log_end(server: Server) -> str:
    """The end of its log, where that was not seen on our stderr already."""
    lines = "".join(f"\n    {line[:LONGEST_LINE]}" for line in server.started.last_lines())
    return f"the end of its log:{lines}" if lines else "its log is above"


def _lost_port(server: Server, planned: Plan) -> bool:
    """Whether it ended because someone took the free port that was chosen for it before it could."""
    entry, config = server.entry, planned.launch.config
    chosen = [
        got for asked, got in ((config.rest_port, entry.rest_port), (config.grpc_port, entry.grpc_port)) if not asked
    ]
    return server.ended() is not None and any(ports.is_taken(planned.launch.host, port) for port in chosen if port)
