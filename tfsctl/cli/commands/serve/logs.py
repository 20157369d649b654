"""`tfsctl logs`: print the log of a server."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Annotated

import typer

from tfsctl.cli.options.running_server_options import ServerNames
from tfsctl.cli.output import terminal
from tfsctl.errors import InvalidInput, NotFound


def logs(
    names: ServerNames = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as it is written, until the server ends.")
    ] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=0, metavar="N", help="Only the last N lines of what is there.")
    ] = None,
) -> None:
    """Print the logs of servers that tfsctl started.

    It is there after the server has ended too: that of a container until `tfsctl stop`, that of a process until the
    next server of its name. With several names, each line begins with the name.

    \b
    Examples:
      tfsctl logs amazon_review --tail 20
      tfsctl logs -f
      tfsctl logs amazon_review house_price --tail 5
    """
    if names and len(names) > 1:
        if follow:
            raise InvalidInput(
                "--follow shows the log of one server", hint=f"tfsctl logs --follow {shlex.quote(names[0])}"
            )
        # All logs are opened before anything is printed.
        outputs = [(name, _log(name, follow=False, tail=tail)) for name in names]
        for name, lines in outputs:
            for line in lines:
                terminal.answer(f"{name} | {line}")
        return
    for line in _log(names[0] if names else None, follow=follow, tail=tail):
        terminal.answer(line)


def _log(name: str | None, *, follow: bool, tail: int | None) -> Iterator[str]:
    """The lines of the log of a server, also after its end. Raises NotFound."""
    from tfsctl.engines.registry import fleet, server_log
    from tfsctl.engines.registry.tracked_server import ENDED

    try:
        chosen = fleet.choose(name, "logs")[0]
    except NotFound:
        lines = None if name is None else server_log.last_run(name, tail=tail)
        if lines is None:
            raise
        terminal.say(f"note: {name} does not run; this is the log of its last run")
        return lines
    if chosen.state == ENDED:
        terminal.say(f"note: {chosen.record.name} has ended; this is the log of its last run")
    return server_log.lines(chosen, tail=tail, follow=follow)
