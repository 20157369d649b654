"""`tfsctl promote`: move the label `stable` to a new version."""

from __future__ import annotations

from typing import Annotated

import typer

from tfsctl.cli.commands.rollout import rollout
from tfsctl.cli.options.connection_options import takes_connection_options
from tfsctl.cli.options.managed_model_options import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    ConfigFile,
    GrpcPort,
    Host,
    Message,
    ModelName,
    Server,
    change_options,
    open_model,
)
from tfsctl.cli.options.output_options import Json
from tfsctl.cli.options.running_server_options import DEFAULT_WAIT_TIMEOUT_S, WaitTimeout
from tfsctl.clients.connection import Connection


@takes_connection_options
def promote(
    name: ModelName,
    *,
    version: Annotated[
        int | None,
        typer.Option(
            "--version", min=0, metavar="W", help="The version (default: the one labelled canary, or the latest)."
        ),
    ] = None,
    require_blessing: Annotated[
        bool,
        typer.Option("--require-blessing", help="Refuse a version that did not pass its last comparison: exit code 7."),
    ] = False,
    server: Server = None,
    config: ConfigFile = None,
    host: Host = DEFAULT_HOST,
    port: GrpcPort = DEFAULT_PORT,
    connection: Connection,
    wait_timeout: WaitTimeout = DEFAULT_WAIT_TIMEOUT_S,
    message: Message = "",
    as_json: Json = False,
) -> None:
    """Make a version stable: move the label `stable` to it.

    The earlier stable version stays loaded with the label `previous`, so `tfsctl rollback` takes effect at once. The
    configuration of the server is updated too, so a restart keeps the labels.

    If the model is served with `serve --front`, this ends the running rollout, as `rollout promote` does.

    \b
    Examples:
      tfsctl promote amazon_review
      tfsctl promote amazon_review --version 1790000600 --message "v3, better on long texts"
      tfsctl promote amazon_review --require-blessing --json
    """
    from tfsctl.cli.output import label_table, terminal
    from tfsctl.rollout.labels import label_changes

    is_ours = config is None and (host, port) == (DEFAULT_HOST, DEFAULT_PORT)
    if is_ours and rollout.finish_on_front(name, server, "promote", as_json=as_json):
        return
    with terminal.progress(quiet=as_json) as step:
        change = label_changes.promote(
            open_model(name, server, config, host, port, connection),
            version=version,
            require_blessing=require_blessing,
            options=change_options(wait_timeout, message, step),
        )
    terminal.answer_json(label_table.change_document(change)) if as_json else label_table.print_change(change)
