"""`tfsctl stop`: end servers that tfsctl started."""

from __future__ import annotations

from typing import Annotated

import typer

from tfsctl.cli import _options, _output
from tfsctl.errors import InvalidInput, NotFound


def stop(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The server; needed if several run.")] = None,
    *,
    stop_all: Annotated[bool, typer.Option("--all", help="Stop every server tfsctl started.")] = False,
    as_json: _options.Json = False,
) -> None:
    """Stop a server that tfsctl started.

    Returns when it is gone. Nothing that tfsctl did not start is ever stopped.

    \b
    Examples:
      tfsctl stop amazon_review
      tfsctl stop --all
    """
    from tfsctl.engines import registry, serving

    running = registry.running()
    names = ", ".join(server.name for server in running) or "none"
    if stop_all and name is not None:
        raise InvalidInput("--all and a name contradict each other", hint=f"tfsctl stop {name}")
    chosen = [server for server in running if stop_all or name in (None, server.name)]
    if not chosen and not stop_all:
        raise NotFound(f"no server {name} runs (running: {names})" if name else "no server runs that tfsctl started")
    if len(chosen) > 1 and not stop_all:
        raise InvalidInput(f"several servers run: {names}", hint="tfsctl stop NAME, or --all")
    for server in chosen:
        serving.stop(server)
    if as_json:
        _output.answer_json({"stopped": [server.name for server in chosen]})
        return
    for server in chosen:
        _output.answer(f"stopped {server.name}")
    if not chosen:
        _output.say("no server runs that tfsctl started")
