"""`tfsctl serve`: start a model server, say when it answers and how to ask it, and end it in good order."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.commands.serve.starting import in_background
from tfsctl.cli.options import shared as shared_options
from tfsctl.cli.options.groups import option_group
from tfsctl.cli.options.serving import request as request_of_options
from tfsctl.cli.output import ready, terminal
from tfsctl.engines.planning.serve_options import Request

if TYPE_CHECKING:
    from tfsctl.engines.planning.serve_plan import Plan


@option_group("request", request_of_options)
def serve(
    request: Request,
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Leave it running; `tfsctl stop` ends it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the command line, and start nothing.")] = False,
    wait_timeout: Annotated[
        float,
        typer.Option(
            "--wait-timeout", envvar="TFSCTL_WAIT_TIMEOUT", min=0.1, metavar="SECONDS", help="How long it may load."
        ),
    ] = 60.0,
    as_json: shared_options.Json = False,
) -> None:
    """Serve models over REST and gRPC.

    PATH holds versions of a model, directories with a number for a name; the highest is served, and a higher one as
    soon as it appears. "Ready" is said once every model answers. Ctrl-C ends the server.

    \b
    Examples:
      tfsctl serve ./amazon_review
      tfsctl serve ./amazon_review --detach --rest-port 0 --grpc-port 0
      tfsctl serve ./amazon_review ./house_price --name shop
      tfsctl serve --model review=./amazon_review,versions=1,2,labels=stable:1,canary:2
      tfsctl serve ./amazon_review --metrics --batching-parameter max_batch_size=32
      tfsctl serve ./amazon_review --engine docker --dry-run
    """
    from tfsctl.engines.planning import serve_plan

    plan = serve_plan.plan(request)
    ready.explain(plan)
    if dry_run:
        _answer_command(plan, as_json=as_json)
    elif detach:
        _start_detached(plan, wait_timeout=wait_timeout, as_json=as_json)
    else:
        _serve_until_stopped(plan, wait_timeout=wait_timeout, as_json=as_json)


def _answer_command(plan: Plan, *, as_json: bool) -> None:
    if as_json:
        terminal.answer_json({"command": plan.command()})
    else:
        terminal.answer(shlex.join(plan.command()))


def _start_detached(plan: Plan, *, wait_timeout: float, as_json: bool) -> None:
    from tfsctl.engines.planning import serving

    serving.prepare(plan)
    entry = in_background(
        lambda give_up, show_step: serving.start(
            plan, detach=True, wait_timeout_s=wait_timeout, give_up=give_up, show_step=show_step
        )
    ).entry
    ready.announce(plan, entry, as_json=as_json)
    runner = f"process {entry.pid}" if entry.container is None else f"container {entry.container[:12]}"
    terminal.say(f"it goes on as {runner}; to stop it: tfsctl stop {entry.name}")


def _serve_until_stopped(plan: Plan, *, wait_timeout: float, as_json: bool) -> None:
    from tfsctl.engines.planning import serving
    from tfsctl.programs.signals import StopSignals

    serving.prepare(plan)
    with StopSignals() as signals:
        try:
            server = serving.start(
                plan,
                detach=False,
                wait_timeout_s=wait_timeout,
                give_up=lambda: bool(signals.came),
                show_log=terminal.log_line,
            )
        except serving.Interrupted:
            return
        try:
            ready.announce(plan, server.entry, as_json=as_json)
            terminal.say("Ctrl-C stops it")
            while not signals.came and server.ended() is None:
                time.sleep(0.1)
            failure = None if signals.came else server.failure()
        finally:
            server.stop()
    if failure is not None:
        raise failure
    terminal.say(f"{server.entry.name} has ended")
