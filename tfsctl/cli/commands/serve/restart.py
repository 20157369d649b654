"""`tfsctl restart`: stop a server and start it again with the same command line."""

from __future__ import annotations

from tfsctl.cli.commands.serve.background_start import start_in_background
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.running_server_options import DEFAULT_WAIT_TIMEOUT_S, ServerArgument, WaitTimeoutOption
from tfsctl.cli.output import server_announcement, terminal


def restart(
    name: ServerArgument = None,
    *,
    wait_timeout: WaitTimeoutOption = DEFAULT_WAIT_TIMEOUT_S,
    as_json: JsonOption = False,
) -> None:
    """Restart a server.

    The server keeps its command line and ports, and runs in the background. The command returns once all models are
    available. If the models on disk could not be served again, the server is not stopped.

    \b
    Examples:
      tfsctl restart
      tfsctl restart amazon_review --wait-timeout 120
    """
    from tfsctl.engines.planning import restarting
    from tfsctl.engines.registry import fleet

    chosen = fleet.choose(name, "restart")[0]
    plan = restarting.plan_restart(chosen)
    server_announcement.announce_plan(plan)
    try:
        server = start_in_background(
            lambda give_up, show_step: restarting.restart(
                chosen, plan, wait_timeout_s=wait_timeout, give_up=give_up, show_step=show_step
            )
        )
    except KeyboardInterrupt:
        terminal.say(f"{chosen.record.name} was stopped and not started again; start it with: tfsctl serve PATH")
        raise
    server_announcement.announce_server(plan, server.record, as_json=as_json)
