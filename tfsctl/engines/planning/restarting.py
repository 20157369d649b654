"""Restart a server as it was started before: the same models, flags, ports and container options."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.planning import preflight, serve_plan, server_control
from tfsctl.engines.planning.engine_choice import ENGINES
from tfsctl.engines.planning.serve_plan import ServePlan
from tfsctl.engines.planning.server_handle import ServerHandle
from tfsctl.engines.registry.tracked_server import TrackedServer
from tfsctl.errors import InvalidInput, TfsctlError
from tfsctl.programs.log_followers import ShowLine


def plan_restart(server: TrackedServer) -> ServePlan:
    """The plan for the restart, checked while the server still runs: a server that cannot come back is not stopped.

    The plan has the ports that the server has now. Raises EngineError for a container whose launch is not known, and
    what `serve_plan.replan` and `Engine.prepare` raise.
    """
    record = server.record
    spec = LaunchSpec.of_server(record.name, server.launch)
    config = replace(spec.config, rest_port=record.rest_port, grpc_port=record.grpc_port)
    plan = serve_plan.replan(record.engine, replace(spec, config=config))
    check_environment(spec, record.name)
    if server.is_left_over and not spec.front:  # Envoy survives a front that was killed, and has the ports
        server_control.prepare(plan)  # another server may have taken its ports
    else:
        ENGINES[plan.engine].prepare(plan.launch, plan.models)
    return plan


def check_environment(spec: LaunchSpec, server: str) -> None:
    """Raise InvalidInput for a variable that the server copied from the environment and that is not set any more."""
    try:
        preflight.check_environment(spec.environment)
    except InvalidInput as error:
        name = next(name for name, value in spec.environment if value is None and name not in os.environ)
        raise InvalidInput(
            f"{server} was started with --env {name}, and the variable {name} is no longer set",
            hint=f"export {name}=VALUE, then tfsctl restart {server}",
        ) from error


def restart(
    server: TrackedServer,
    plan: ServePlan,
    *,
    wait_timeout_s: float = 60.0,
    give_up: Callable[[], bool] = lambda: False,
    show_step: ShowLine = lambda _step: None,
) -> ServerHandle:
    """Stop a server and start it again, detached. Returns once its models are AVAILABLE.

    Raises what `server_control.start` raises. The old server is gone then, which the error says.
    """
    show_step(f"stopping {server.record.name}")
    server_control.stop(server.record)
    try:
        return server_control.start(
            plan, detach=True, wait_timeout_s=wait_timeout_s, give_up=give_up, show_step=show_step
        )
    except TfsctlError as error:
        error.message = f"{server.record.name} was stopped and could not be started again: {error.message}"
        raise
