"""`tfsctl run`: serve a model (unless it is served already) and open the REPL on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tfsctl.cli.commands.serve.background_start import start_in_background
from tfsctl.cli.options.inference_options import SignatureOption
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.running_server_options import DEFAULT_WAIT_TIMEOUT_S, WaitTimeoutOption
from tfsctl.cli.options.serve_parameters import takes_serve_options
from tfsctl.cli.options.server_options import GrpcOption
from tfsctl.cli.output import server_announcement, terminal
from tfsctl.engines.planning.serve_options import ServeOptions
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.engines.planning.serve_plan import ServePlan
    from tfsctl.engines.server_record import ServerRecord


@takes_serve_options
def run(
    request: ServeOptions,
    *,
    use_grpc: GrpcOption = False,
    signature: SignatureOption = None,
    wait_timeout: WaitTimeoutOption = DEFAULT_WAIT_TIMEOUT_S,
    as_json: JsonOption = False,
) -> None:
    """Serve a model, and query it interactively.

    Starts a server like `tfsctl serve`, opens a REPL like `tfsctl repl`, and stops the server when the REPL ends. If a
    running server already serves the model from the same directory, that server is used and left running.

    \b
    Examples:
      tfsctl run ./amazon_review
      tfsctl run ./amazon_review --engine embedded --rest-port 0 --grpc-port 0 --grpc
      tfsctl run ./amazon_review < reviews.txt
    """
    from tfsctl.cli.options.server_options import ServerOptions
    from tfsctl.cli.repl.conversation import converse
    from tfsctl.engines.planning import serve_plan, server_control
    from tfsctl.programs.signals import raise_on_termination

    if request.container.restart is not None:
        raise InvalidInput("--restart has no effect: `run` stops its server at the end", hint="remove --restart")
    plan = serve_plan.make_plan(request)
    tls = plan.launch.config.tls
    if use_grpc and tls is not None and tls.ca is not None:
        raise InvalidInput(
            "the gRPC API of this server requires a client certificate, which `run` cannot send",
            hint="remove --grpc (REST has no TLS); or use tfsctl serve --detach, then tfsctl repl --grpc --cert FILE",
        )
    server = _already_served(plan)
    started = None
    if server is None:
        started = server = _start(plan, wait_timeout)
    try:
        with raise_on_termination(EOFError):
            options = ServerOptions(
                plan.first_model.name,
                server.host,
                server.grpc_port if use_grpc else server.rest_port,
                transport="grpc" if use_grpc else "rest",
            )
            code = converse(options, signature=signature, as_json=as_json)
    finally:
        if started is not None:
            server_control.stop(started)
            terminal.say(f"stopped {started.name}")
    raise typer.Exit(code)


def _already_served(plan: ServePlan) -> ServerRecord | None:
    """The running server that serves the same model from the same directory, or None."""
    from tfsctl.cli.inference.served_models import models_of
    from tfsctl.engines.registry import records

    wanted = plan.first_model.config
    for server in records.running():
        if any((model.name, model.base_path) == (wanted.name, wanted.base_path) for model in models_of(server)):
            return server
    return None


def _start(plan: ServePlan, wait_timeout: float) -> ServerRecord:
    """Start the server, and leave it running. Raises what `server_control.start` raises, and KeyboardInterrupt."""
    from tfsctl.engines.planning import server_control

    server_announcement.announce_plan(plan)
    server_control.prepare(plan)
    # The server runs in the background, so that Ctrl-C reaches only the REPL.
    return start_in_background(
        lambda give_up, show_step: server_control.start(
            plan, detach=True, wait_timeout_s=wait_timeout, give_up=give_up, show_step=show_step
        )
    ).record
