"""`tfsctl restart`: stop a server and start it again as it was started before."""

from __future__ import annotations

from typing import Annotated

import typer

from tfsctl.cli.commands.serve.starting import in_background
from tfsctl.cli.options import shared as shared_options
from tfsctl.cli.output import ready, terminal


def restart(
    name: shared_options.Server = None,
    *,
    wait_timeout: Annotated[
        float,
        typer.Option(
            "--wait-timeout", envvar="TFSCTL_WAIT_TIMEOUT", min=0.1, metavar="SECONDS", help="How long it may load."
        ),
    ] = 60.0,
    as_json: shared_options.Json = False,
) -> None:
    """Restart a server that tfsctl started.

    It gets the command line and the ports it had, and goes on in the background. "Ready" is said once every model
    answers. What is on disk is checked first: a server that could not come back is not stopped.

    \b
    Examples:
      tfsctl restart
      tfsctl restart amazon_review --wait-timeout 120
    """
    from tfsctl.engines.planning import restarting
    from tfsctl.engines.registry import fleet

    chosen = fleet.choose(name, "restart")[0]
    plan = restarting.plan(chosen)
    ready.explain(plan)
    try:
        server = in_background(
            lambda give_up, show_step: restarting.restart(
                chosen, plan, wait_timeout_s=wait_timeout, give_up=give_up, show_step=show_step
            )
        )
    except KeyboardInterrupt:
        terminal.say(f"{chosen.server.name} was stopped, and is not started again; tfsctl serve PATH does")
        raise
    ready.announce(plan, server.entry, as_json=as_json)
