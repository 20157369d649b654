"""A server started again, as it was started before: the same models, flags, ports and container."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tfsctl.engines.planning import serve_plan, serving
from tfsctl.engines.planning.engine_choice import ENGINES
from tfsctl.engines.planning.launch_spec import Launch
from tfsctl.engines.planning.serve_plan import Plan
from tfsctl.engines.planning.server_handle import Server
from tfsctl.engines.registry.discovery import Marked
from tfsctl.errors import EngineError, TfsctlError
from tfsctl.programs.log_follower import Show


def plan(each: Marked) -> Plan:
    """What will be started again, checked while the server still runs: what cannot come back is not stopped.

    It has the ports it has now, also those that were free ones. Raises EngineError for a container of which nothing but
    its labels is known, and what `planning.again` and `prepare` raise.
    """
    server = each.server
    if each.launch is None:
        raise EngineError(
            f"what {server.name} was started with is not known",
            hint=f"tfsctl stop {server.name}, and tfsctl serve PATH again",
        )
    launch = Launch.from_document(each.launch)
    config = replace(launch.config, rest_port=server.rest_port, grpc_port=server.grpc_port)
    planned = serve_plan.again(server.engine, replace(launch, config=config))
    ENGINES[planned.engine].prepare(planned.launch, planned.founds)
    return planned


def restart(
    each: Marked,
    planned: Plan,
    *,
    wait_timeout_s: float = 60.0,
    give_up: Callable[[], bool] = lambda: False,
    show_step: Show = lambda _step: None,
) -> Server:
    """Stop a server and start it again, detached; returns once its models are AVAILABLE.

    Raises what `serving.start` raises; the server is gone then, which the error says.
    """
    show_step(f"stopping {each.server.name}")
    serving.stop(each.server)
    try:
        return serving.start(planned, detach=True, wait_timeout_s=wait_timeout_s, give_up=give_up, show_step=show_step)
    except TfsctlError as error:
        error.message = f"{each.server.name} was stopped and did not come back: {error.message}"
        raise
