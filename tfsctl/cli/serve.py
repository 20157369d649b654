"""`tfsctl serve`: start a model server, say when it answers and how to ask it, and end it in good order."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tfsctl.cli import _options, _output
from tfsctl.core.types import DEFAULT_GRPC_PORT, DEFAULT_REST_PORT, DEFAULT_SIGNATURE
from tfsctl.engines.launch import DEFAULT_IMAGE

if TYPE_CHECKING:
    from tfsctl.engines.serving import Plan, Server


def serve(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The model's directory, or one version of it.")],
    *,
    engine: Annotated[
        Literal["auto", "docker", "binary", "embedded"],
        typer.Option("--engine", envvar="TFSCTL_ENGINE", help="What runs the server; auto takes the first there is."),
    ] = "auto",
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The model's name; else its directory's.")
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="The address to listen on; 0.0.0.0 opens it to other machines.")
    ] = "127.0.0.1",
    rest_port: Annotated[
        int, typer.Option("--rest-port", envvar="TFSCTL_REST_PORT", min=0, max=65535, help="0: a free one.")
    ] = DEFAULT_REST_PORT,
    grpc_port: Annotated[
        int, typer.Option("--grpc-port", envvar="TFSCTL_GRPC_PORT", min=0, max=65535, help="0: a free one.")
    ] = DEFAULT_GRPC_PORT,
    image: Annotated[
        str, typer.Option("--image", envvar="TFSCTL_IMAGE", help="The image of the docker engine.")
    ] = DEFAULT_IMAGE,
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
    """Serve a model over REST and gRPC.

    PATH holds versions of a model, directories with a number for a name; the highest is served, and a higher one as
    soon as it appears. "Ready" is said once the model answers. Ctrl-C ends the server.

    \b
    Examples:
      tfsctl serve ./amazon_review
      tfsctl serve ./amazon_review --detach --rest-port 0 --grpc-port 0
      tfsctl serve ./amazon_review --engine docker --dry-run
    """
    from tfsctl.engines import serving
    from tfsctl.engines.signals import StopSignals

    plan = serving.plan(
        path, engine=engine, name=name, host=host, rest_port=rest_port, grpc_port=grpc_port, image=image
    )
    _explain(plan)
    if dry_run:
        _output.answer(shlex.join(plan.command()))
        return
    with StopSignals() as signals:
        try:
            server = serving.start(plan, detach=detach, wait_timeout_s=wait_timeout, give_up=lambda: bool(signals.came))
        except serving.Interrupted:
            if detach:
                raise KeyboardInterrupt from None  # only a server in the foreground is meant to end so
            return
        if detach:
            server.leave_running()
            _announce(plan, server, detach=detach, as_json=as_json)
            return
        try:
            _announce(plan, server, detach=detach, as_json=as_json)
            while not signals.came and server.ended() is None:
                time.sleep(0.1)
            failure = None if signals.came else server.failure()
        finally:
            server.stop()
    if failure is not None:
        raise failure
    _output.say(f"{server.entry.name} has ended")


def _explain(plan: Plan) -> None:
    """Say what will be served, by what, and what about that may surprise."""
    found = plan.found
    if found.pinned:
        _output.say(f"note: {found.saved_model.path} is one version; {found.model.base_path} is served, pinned to it")
    if plan.engine == "binary":
        _output.say("note: tensorflow_model_server listens on every address of this machine")
    reason = f" ({plan.reason})" if plan.reason else ""
    _output.say(f"serving {found.model.name} version {found.version} with {plan.engine}{reason}")


def _announce(plan: Plan, server: Server, *, detach: bool, as_json: bool) -> None:
    """Answer with where the server is and what to paste to ask it, and say how to end it."""
    entry, found = server.entry, plan.found
    curl, predict = _lines_to_paste(plan, server)
    if as_json:
        facts = asdict(entry) | {"url": entry.url, "version": found.version, "curl": curl, "predict": predict}
        _output.answer_json(facts)
    else:
        _output.answer(f"ready: {found.model.name} version {found.version}")
        _output.answer(f"  REST  {entry.url}/v1/models/{found.model.name}")
        _output.answer(f"  gRPC  {entry.grpc_address}")
        for line in (curl, predict):
            if line is not None:
                _output.answer(f"  {line}")
    if detach:
        runner = f"process {entry.pid}" if entry.container is None else f"container {entry.container[:12]}"
        _output.say(f"it goes on as {runner}; to stop it: tfsctl stop {entry.name}")
    else:
        _output.say("Ctrl-C stops it")


def _lines_to_paste(plan: Plan, server: Server) -> tuple[str | None, str | None]:
    """A `curl` and a `tfsctl predict` that this model answers; None where the signature leaves nothing to make up."""
    from tfsctl.core.example_request import example_body, example_row, example_signature
    from tfsctl.engines import registry

    entry, found = server.entry, plan.found
    signature = example_signature(found.saved_model.signatures)
    if signature is None:
        return None, None
    body, row = example_body(signature), example_row(signature)
    url = f"{entry.url}/v1/models/{found.model.name}:predict"
    curl = None if body is None else shlex.join(["curl", "-d", body, "-X", "POST", url])
    words = ["tfsctl", "predict", row if isinstance(row, str) else json.dumps(row)]
    if len(registry.running()) > 1:
        words += ["--model", found.model.name]
    if signature.name != DEFAULT_SIGNATURE:
        words += ["--signature", signature.name]
    if body is None:
        words.append("--grpc")
    return curl, shlex.join(words)
