"""`tfsctl rollback`: move the label `stable` back to the version before."""

from __future__ import annotations

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
def rollback(
    name: ModelName,
    *,
    server: Server = None,
    config: ConfigFile = None,
    host: Host = DEFAULT_HOST,
    port: GrpcPort = DEFAULT_PORT,
    connection: Connection,
    wait_timeout: WaitTimeout = DEFAULT_WAIT_TIMEOUT_S,
    message: Message = "",
    as_json: Json = False,
) -> None:
    """Make the previous version stable again.

    That is the version with the label `previous`, or the one that was stable before according to the history. The
    version rolled back from is unloaded unless another label names it, because requests without a label go to the
    highest version that is loaded.

    If the model is served with `serve --front`, this ends the running rollout, as `rollout rollback` does.

    \b
    Examples:
      tfsctl rollback amazon_review
      tfsctl rollback amazon_review --message "more errors on long texts"
    """
    from tfsctl.cli.output import label_table, terminal
    from tfsctl.rollout.labels import label_changes

    is_ours = config is None and (host, port) == (DEFAULT_HOST, DEFAULT_PORT)
    if is_ours and rollout.finish_on_front(name, server, "rollback", as_json=as_json):
        return
    with terminal.progress(quiet=as_json) as step:
        change = label_changes.rollback(
            open_model(name, server, config, host, port, connection),
            options=change_options(wait_timeout, message, step),
        )
    terminal.answer_json(label_table.change_document(change)) if as_json else label_table.print_change(change)
