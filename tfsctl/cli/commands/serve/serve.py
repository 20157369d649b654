"""`tfsctl serve`: start a model server, say when it answers and how to ask it, and end it in good order."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli import _options, _output, _ready
from tfsctl.cli._option_groups import option_group
from tfsctl.cli._serving_options import request as request_of_options
from tfsctl.cli._starting import in_background
from tfsctl.engines.request import Request

if TYPE_CHECKING:
    from tfsctl.engines.planning import Plan


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
    as_json: _options.Json = False,
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
    from tfsctl.engines import planning

    plan = planning.plan(request)
    _ready.explain(plan)
    if dry_run:
        _answer_command(plan, as_json=as_json)
    elif detach:
        _start_detached(plan, wait_timeout=wait_timeout, as_json=as_json)
    else:
        _serve_until_stopped(plan, wait_timeout=wait_timeout, as_json=as_json)


def _answer_command(plan: Plan, *, as_json: bool) -> None:
    if as_json:
        _output.answer_json({"command": plan.command()})
    else:
        _output.answer(shlex.join(plan.command()))


def _start_detached(plan: Plan, *, wait_timeout: float, as_json: bool) -> None:
    from tfsctl.engines import serving

    serving.prepare(plan)
    entry = in_background(
        lambda give_up, show_step: serving.start(
            plan, detach=True, wait_timeout_s=wait_timeout, give_up=give_up, show_step=show_step
        )
    ).entry
    _ready.announce(plan, entry, as_json=as_json)
    runner = f"process {entry.pid}" if entry.container is None else f"container {entry.container[:12]}"
    _output.say(f"it goes on as {runner}; to stop it: tfsctl stop {entry.name}")


def _serve_until_stopped(plan: Plan, *, wait_timeout: float, as_json: bool) -> None:
    from tfsctl.engines import serving
    from tfsctl.engines.signals import StopSignals

    serving.prepare(plan)
    with StopSignals() as signals:
        try:
            server = serving.start(
                plan,
                detach=False,
                wait_timeout_s=wait_timeout,
                give_up=lambda: bool(signals.came),
                show_log=_output.log_line,
            )
        except serving.Interrupted:
            return
        try:
            _ready.announce(plan, server.entry, as_json=as_json)
            _output.say("Ctrl-C stops it")
            while not signals.came and server.ended() is None:
                time.sleep(0.1)
            failure = None if signals.came else server.failure()
        finally:
            server.stop()
    if failure is not None:
        raise failure
    _output.say(f"{server.entry.name} has ended")
