"""Start a planned server and wait until it is ready; stop a server."""

from __future__ import annotations

import time
from collections.abc import Callable

from tfsctl.engines import ports, state_dir
from tfsctl.engines.docker import container as docker_container
from tfsctl.engines.engine import ServerProcess
from tfsctl.engines.planning import preflight
from tfsctl.engines.planning.engine_choice import ENGINES
from tfsctl.engines.planning.readiness import wait_until_ready
from tfsctl.engines.planning.serve_plan import ServePlan
from tfsctl.engines.planning.server_handle import ServerHandle
from tfsctl.engines.process import front
from tfsctl.engines.registry import records
from tfsctl.engines.server_record import ServerRecord, record_of
from tfsctl.programs import processes
from tfsctl.programs.log_followers import ShowLine


def prepare(plan: ServePlan) -> None:
    """Check what `start` needs besides the models: the name, the ports, variables, the engine and its image.

    Pulls a missing image, with the progress on stderr. Raises EngineError (DockerError) and InvalidInput.
    """
    spec, config = plan.launch, plan.launch.config
    preflight.check_environment(spec.environment)
    preflight.check_free(spec.name, spec.host, (config.rest_port, config.grpc_port), records.running())
    ENGINES[plan.engine].prepare(spec, plan.models)


def start(
    plan: ServePlan,
    *,
    detach: bool,
    wait_timeout_s: float = 60.0,
    give_up: Callable[[], bool] = lambda: False,
    show_log: ShowLine | None = None,
    show_step: ShowLine = lambda _step: None,
) -> ServerHandle:
    """Start a server that was prepared, and return once its models are AVAILABLE.

    `show_log` receives each line of the server's log, `show_step` each step of the start. Raises EngineError
    (DockerError) if the server cannot be started, ends or cannot load a model, NotReadyInTime at the deadline, and
    Interrupted once `give_up()` is true. On an error the server is stopped and its record is deleted.
    """
    deadline = time.monotonic() + wait_timeout_s
    while True:
        show_step(f"starting {plan.launch.name}")
        server = _launch(plan, detach=detach, show_log=show_log)
        show_step(f"loading {', '.join(model.name for model in plan.models)}")
        try:
            wait_until_ready(server, plan.models, deadline, give_up)
        except BaseException:
            retry = _port_was_taken(server, plan) and time.monotonic() < deadline
            server.stop()
            if not retry:
                raise
        else:
            return server


def stop(record: ServerRecord) -> None:
    """Stop a server, whichever process started it, and delete its record. Returns when it is gone.

    If the server has ended, only its record is deleted. Raises DockerError.
    """
    if record.container is not None:
        docker_container.stop(record.container)
    elif record.pid is not None and not records.has_ended(record):
        processes.stop(record.pid)
    records.unregister(record)
    state_dir.remove_config_files(record.name)


def _launch(plan: ServePlan, *, detach: bool, show_log: ShowLine | None) -> ServerHandle:
    process: ServerProcess
    if plan.launch.front:
        process = front.start(plan.launch, plan.engine, detach=detach)
    else:
        process = ENGINES[plan.engine].start(plan.launch, detach=detach)
    try:
        if show_log is not None:
            process.follow(show_log)
        record = record_of(plan.launch, plan.engine, process)
        records.register(record, launch=plan.launch.to_document())
    except BaseException:
        process.stop()
        raise
    return ServerHandle(record, process, log_shown=show_log is not None)


def _port_was_taken(server: ServerHandle, plan: ServePlan) -> bool:
    """Whether the server ended because another program took its free port before the server did."""
    record, config = server.record, plan.launch.config
    pairs = ((config.rest_port, record.rest_port), (config.grpc_port, record.grpc_port))
    chosen = [used for wanted, used in pairs if not wanted]
    return server.exit_status() is not None and any(ports.is_taken(plan.launch.host, port) for port in chosen if port)
