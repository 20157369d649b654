"""`tfsctl serve`: start a model server, in the foreground or detached, and print how to query it."""

from __future__ import annotations

import os
import shlex
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.commands.serve.background_start import start_in_background
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.running_server_options import DEFAULT_WAIT_TIMEOUT_S, WaitTimeoutOption
from tfsctl.cli.options.serve_parameters import takes_serve_options
from tfsctl.cli.output import server_announcement, terminal
from tfsctl.engines.planning.serve_options import ServeOptions
from tfsctl.errors import DockerError, InvalidInput

if TYPE_CHECKING:
    from tfsctl.engines.planning.serve_plan import ServePlan


@takes_serve_options
def serve(
    request: ServeOptions,
    *,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Run in the background; `tfsctl stop` stops the server.")
    ] = False,
    front: Annotated[
        bool,
        typer.Option(
            "--front", help="Start the Envoy proxy in front of the server, for tfsctl canary. Needs tfsctl[front]."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the server's command line without starting it.")
    ] = False,
    wait_timeout: WaitTimeoutOption = DEFAULT_WAIT_TIMEOUT_S,
    as_json: JsonOption = False,
) -> None:
    """Serve models over REST and gRPC.

    PATH is the directory of a model, with one numbered subdirectory per version. The highest version is served. When a
    higher version appears, the server switches to it. The server's addresses are printed once all models are
    available. Ctrl-C stops the server.

    \b
    Examples:
      tfsctl serve ./amazon_review
      tfsctl serve ./amazon_review --detach --rest-port 0 --grpc-port 0
      tfsctl serve ./amazon_review ./house_price --name shop
      tfsctl serve --model review=./amazon_review,versions=1,2,labels=stable:1,canary:2
      tfsctl serve ./amazon_review --metrics --batching-parameter max_batch_size=32
      tfsctl serve ./amazon_review --front --detach
      tfsctl serve ./amazon_review --engine docker --dry-run
    """
    from tfsctl.engines.planning import serve_plan

    if request.container.restart is not None and not detach and not dry_run:
        raise InvalidInput("--restart needs a server in the background", hint="add --detach")
    if front and dry_run:
        raise InvalidInput("--front starts several programs, which --dry-run cannot print", hint="remove --dry-run")
    plan = serve_plan.make_plan(replace(request, front=front))
    server_announcement.announce_plan(plan)
    if dry_run:
        _answer_command(plan, as_json=as_json)
    elif detach:
        _start_detached(plan, wait_timeout=wait_timeout, as_json=as_json)
    else:
        _serve_until_stopped(plan, wait_timeout=wait_timeout, as_json=as_json)


def _answer_command(plan: ServePlan, *, as_json: bool) -> None:
    files = ", ".join(plan.launch.config.files())
    if files:
        terminal.say_note(f"the command reads generated files ({files}), which --dry-run does not write")
    for name, value in plan.launch.environment:
        if value is None and name not in os.environ:
            terminal.say_note(f"the command uses the environment variable {name}, which is not set")
    if as_json:
        terminal.answer_json({"command": plan.command()})
    else:
        terminal.answer(shlex.join(plan.command()))


def _start_detached(plan: ServePlan, *, wait_timeout: float, as_json: bool) -> None:
    from tfsctl.engines.planning import server_control

    server_control.prepare(plan)
    _prepare_front(plan)
    record = start_in_background(
        lambda give_up, show_step: server_control.start(
            plan, detach=True, wait_timeout_s=wait_timeout, give_up=give_up, show_step=show_step
        )
    ).record
    server_announcement.announce_server(plan, record, as_json=as_json)
    runner = f"process {record.pid}" if record.container is None else f"container {record.container[:12]}"
    terminal.say(f"running in the background as {runner}; stop it with: tfsctl stop {record.name}")


def _prepare_front(plan: ServePlan) -> None:
    """Check that Envoy is installed, and remove what an earlier front of this name left."""
    if plan.launch.front:
        from tfsctl.rollout.front import children
        from tfsctl.rollout.front.envoy.program import find_envoy

        find_envoy()
        children.clean_up(plan.launch.name)


def _serve_until_stopped(plan: ServePlan, *, wait_timeout: float, as_json: bool) -> None:
    from tfsctl.engines.planning import server_control
    from tfsctl.engines.planning.readiness import Interrupted
    from tfsctl.programs.signals import StopSignals

    server_control.prepare(plan)
    _prepare_front(plan)
    with StopSignals() as signals:
        try:
            server = server_control.start(
                plan,
                detach=False,
                wait_timeout_s=wait_timeout,
                give_up=lambda: bool(signals.received),
                show_log=terminal.log_line,
            )
        except Interrupted:
            raise KeyboardInterrupt from None
        try:
            server_announcement.announce_server(plan, server.record, as_json=as_json)
            terminal.say("press Ctrl-C to stop the server")
            while not signals.received and server.exit_status() is None:
                time.sleep(0.1)
            failure = None if signals.received else server.failure()
        except BaseException:
            with suppress(DockerError):  # the daemon does not answer any more, which is the error to report
                server.stop()
            raise
        server.stop()
    if failure is not None:
        raise failure
    terminal.say(f"{server.record.name} has ended")
