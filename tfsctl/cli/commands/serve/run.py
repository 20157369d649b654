"""`tfsctl run`: serve a model unless it is served already, and talk to it; a server started for that ends with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.commands.serve.starting import in_background
from tfsctl.cli.options import shared as shared_options
from tfsctl.cli.options.groups import option_group
from tfsctl.cli.options.serving import request as request_of_options
from tfsctl.cli.output import ready, terminal
from tfsctl.engines.planning.serve_options import Request
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.engines.planning.serve_plan import Plan
    from tfsctl.engines.registry.records import RunningServer


@option_group("request", request_of_options)
def run(
    request: Request,
    *,
    use_grpc: shared_options.Grpc = False,
    signature: shared_options.Signature = None,
    wait_timeout: Annotated[
        float,
        typer.Option(
            "--wait-timeout", envvar="TFSCTL_WAIT_TIMEOUT", min=0.1, metavar="SECONDS", help="How long it may load."
        ),
    ] = 60.0,
    as_json: shared_options.Json = False,
) -> None:
    """Serve a model and talk to it, in one go.

    A server that has the model from the same directory already is talked to as it is; else one is started as
    `tfsctl serve` would, and stopped at the end. The conversation is that of `tfsctl repl`.

    \b
    Examples:
      tfsctl run ./amazon_review
      tfsctl run ./amazon_review --engine embedded --rest-port 0 --grpc-port 0 --grpc
      tfsctl run ./amazon_review < reviews.txt
    """
    from tfsctl.cli.commands.query.repl import converse
    from tfsctl.cli.options.target import Asked
    from tfsctl.engines.planning import serve_plan, serving
    from tfsctl.programs.signals import raising

    plan = serve_plan.plan(request)
    if use_grpc and plan.launch.config.tls is not None:
        raise InvalidInput(
            "run does not know which authority to trust for gRPC over TLS",
            hint="tfsctl serve … --detach, then tfsctl repl --grpc --ca FILE",
        )
    server = _already_served(plan)
    started = None
    if server is None:
        started = server = _start(plan, wait_timeout)
    try:
        with raising(EOFError):
            asked = Asked(
                plan.found.model.name,
                server.host,
                server.grpc_port if use_grpc else server.rest_port,
                transport="grpc" if use_grpc else "rest",
            )
            code = converse(asked, signature=signature, as_json=as_json)
    finally:
        if started is not None:
            serving.stop(started)
            terminal.say(f"stopped {started.name}")
    raise typer.Exit(code)


def _already_served(plan: Plan) -> RunningServer | None:
    """The running server that has the model from where it would be served from."""
    from tfsctl.cli.inference.served_models import models_of
    from tfsctl.engines.registry import records

    wanted = plan.found.model
    for server in records.running():
        if any((model.name, model.base_path) == (wanted.name, wanted.base_path) for model in models_of(server)):
            return server
    return None


def _start(plan: Plan, wait_timeout: float) -> RunningServer:
    """Start the server and say where it is. Raises what `serving.start` does, and KeyboardInterrupt."""
    from tfsctl.engines.planning import serving

    ready.explain(plan)
    serving.prepare(plan)
    # It is left running: Ctrl-C is for the conversation.
    return in_background(
        lambda give_up, show_step: serving.start(
            plan, detach=True, wait_timeout_s=wait_timeout, give_up=give_up, show_step=show_step
        )
    ).entry
