"""From a plan to a server that answers: start it, wait, and take it away again if it does not; and end it."""

from __future__ import annotations

import time
from collections.abc import Callable

from tfsctl.engines.docker import container as docker_container
from tfsctl.engines.planning import ports, preflight, readiness
from tfsctl.engines.planning.engine_choice import ENGINES
from tfsctl.engines.planning.readiness import Interrupted
from tfsctl.engines.planning.serve_plan import Plan
from tfsctl.engines.planning.server_handle import Server
from tfsctl.engines.registry import records, state_dir
from tfsctl.engines.registry.records import RunningServer
from tfsctl.programs import processes
from tfsctl.programs.log_follower import Show

__all__ = ["Interrupted", "Server", "prepare", "start", "stop"]


def prepare(planned: Plan) -> None:
    """Check what `start` needs besides the models, and have it at hand: the engine, its image, the ports, the name.

    Raises EngineError (DockerError), which says what to do about it. An image is pulled with its progress on stderr.
    """
    launch, config = planned.launch, planned.launch.config
    preflight.check_free(launch.name, launch.host, (config.rest_port, config.grpc_port), records.running())
    ENGINES[planned.engine].prepare(launch, planned.founds)


def start(
    planned: Plan,
    *,
    detach: bool,
    wait_timeout_s: float = 60.0,
    give_up: Callable[[], bool] = lambda: False,
    show_log: Show | None = None,
    show_step: Show = lambda _step: None,
) -> Server:
    """Start the server, which was prepared, and return once its models are AVAILABLE; on a failure nothing is left.

    Each line of its log goes to `show_log`, what it is at to `show_step`. Raises EngineError (DockerError) when it
    cannot be started, ends early or cannot load a model, NotReadyInTime at the deadline, Interrupted once `give_up()`
    is true.
    """
    deadline = time.monotonic() + wait_timeout_s
    while True:
        show_step(f"starting {planned.launch.name}")
        server = _launch(planned, detach=detach, show_log=show_log)
        show_step(f"loading {', '.join(found.model.name for found in planned.founds)}")
        try:
            readiness.wait(server, planned.founds, deadline, give_up)
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
        docker_container.stop(entry.container)
    elif entry.pid is not None:
        processes.stop(entry.pid)
    records.unregister(entry)
    state_dir.forget_files(entry.name)


def _launch(planned: Plan, *, detach: bool, show_log: Show | None) -> Server:
    launch = planned.launch
    started = ENGINES[planned.engine].start(launch, detach=detach)
    try:
        if show_log is not None:
            started.follow(show_log)
        entry = records.entry_of(launch, planned.engine, started)
        records.register(entry, launch=launch.to_document())
    except BaseException:
        started.stop()
        raise
    return Server(entry, started, followed=show_log is not None)


def _lost_port(server: Server, planned: Plan) -> bool:
    """Whether it ended because someone took the free port that was chosen for it before it could."""
    entry, config = server.entry, planned.launch.config
    chosen = [
        got for asked, got in ((config.rest_port, entry.rest_port), (config.grpc_port, entry.grpc_port)) if not asked
    ]
    return server.ended() is not None and any(ports.is_taken(planned.launch.host, port) for port in chosen if port)
