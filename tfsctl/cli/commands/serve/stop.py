"""`tfsctl stop`: stop servers that tfsctl started."""

from __future__ import annotations

from typing import Annotated

import typer

from tfsctl.cli.options.output_options import Json
from tfsctl.cli.options.running_server_options import ServerName
from tfsctl.cli.output import terminal
from tfsctl.errors import InvalidInput, TfsctlError


def stop(
    name: ServerName = None,
    *,
    stop_all: Annotated[bool, typer.Option("--all", help="Stop every server tfsctl started.")] = False,
    as_json: Json = False,
) -> None:
    """Stop a server that tfsctl started.

    Returns when it is gone, with what is left of a container that has ended. Nothing that tfsctl did not start is ever
    stopped.

    \b
    Examples:
      tfsctl stop amazon_review
      tfsctl stop --all
    """
    from tfsctl.engines.planning import server_control
    from tfsctl.engines.registry import fleet
    from tfsctl.engines.registry.tracked_server import ENDED

    if stop_all and name is not None:
        raise InvalidInput("--all and a name contradict each other", hint=f"tfsctl stop {name}")
    stopped: list[str] = []
    failure: TfsctlError | None = None
    for each in fleet.servers() if stop_all else fleet.choose(name, "stop"):
        try:
            server_control.stop(each.record)
        except TfsctlError as error:  # the remaining servers are stopped first
            failure = failure or error
            continue
        stopped.append(each.record.name)
        if not as_json:
            ended = f"removed {each.record.name}, which had ended"
            terminal.answer(ended if each.state == ENDED else f"stopped {each.record.name}")
    if as_json:
        terminal.answer_json({"stopped": stopped})
    elif not stopped and failure is None:
        terminal.say("no server runs that tfsctl started")
    if failure is not None:
        raise failure
