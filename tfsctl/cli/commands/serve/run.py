"""`tfsctl run`: serve a model unless it is served already, and talk to it; a server started for that ends with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli import _options, _output, _ready
from tfsctl.cli._option_groups import option_group
from tfsctl.cli._serving_options import request as request_of_options
from tfsctl.cli._starting import in_background
from tfsctl.engines.request import Request
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.engines.planning import Plan
    from tfsctl.engines.registry import RunningServer


@option_group("request", request_of_options)
def run(
    request: Request,
    *,
    use_grpc: _options.Grpc = False,
    signature: _options.Signature = None,
    wait_timeout: Annotated[
        float,
        typer.Option(
            "--wait-timeout", envvar="TFSCTL_WAIT_TIMEOUT", min=0.1, metavar="SECONDS", help="How long it may load."
        ),
    ] = 60.0,
    as_json: _options.Json = False,
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
    from tfsctl.cli._target import Asked
    from tfsctl.cli.repl import converse
    from tfsctl.engines import planning, serving
    from tfsctl.engines.signals import raising

    plan = planning.plan(request)
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
            _output.say(f"stopped {started.name}")
    raise typer.Exit(code)


def _already_served(plan: Plan) -> RunningServer | None:
    """The running server that has the model from where it would be served from."""
    from tfsctl.cli._served import models_of
    from tfsctl.engines import registry

    wanted = plan.found.model
    for server in registry.running():
        if any((model.name, model.base_path) == (wanted.name, wanted.base_path) for model in models_of(server)):
            return server
    return None


def _start(plan: Plan, wait_timeout: float) -> RunningServer:
    """Start the server and say where it is. Raises what `serving.start` does, and KeyboardInterrupt."""
    from tfsctl.engines import serving

    _ready.explain(plan)
    serving.prepare(plan)
    # It is left running: Ctrl-C is for the conversation.
    return in_background(
        lambda give_up, show_step: serving.start(
            plan, detach=True, wait_timeout_s=wait_timeout, give_up=give_up, show_step=show_step
        )
    ).entry
