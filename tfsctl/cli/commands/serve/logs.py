"""`tfsctl logs`: print the log of a server."""

from __future__ import annotations

from typing import Annotated

import typer

from tfsctl.cli.options.running_server_options import ServerName
from tfsctl.cli.output import terminal
from tfsctl.errors import NotFound


def logs(
    name: ServerName = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as it is written, until the server ends.")
    ] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=0, metavar="N", help="Only the last N lines of what is there.")
    ] = None,
) -> None:
    """Print the log of a server that tfsctl started.

    It is there after the server has ended too: that of a container until `tfsctl stop`, that of a process until the
    next server of its name.

    \b
    Examples:
      tfsctl logs amazon_review --tail 20
      tfsctl logs -f
    """
    from tfsctl.engines.registry import fleet, server_log
    from tfsctl.engines.registry.tracked_server import ENDED

    try:
        chosen = fleet.choose(name, "logs")[0]
    except NotFound:
        lines = None if name is None else server_log.last_run(name, tail=tail)
        if lines is None:
            raise
        terminal.say(f"note: {name} does not run; this is the log of its last run")
    else:
        if chosen.state == ENDED:
            terminal.say(f"note: {chosen.record.name} has ended; this is the log of its last run")
        lines = server_log.lines(chosen, tail=tail, follow=follow)
    for line in lines:
        terminal.answer(line)
