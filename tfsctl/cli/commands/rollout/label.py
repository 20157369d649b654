"""`tfsctl label`: assign, remove and list the labels of a served model's versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from tfsctl.cli.options.connection_options import takes_connection_options
from tfsctl.cli.options.default_command import DefaultCommandGroup
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
from tfsctl.cli.usage.help_format import GroupedCommand
from tfsctl.clients.connection import Connection
from tfsctl.errors import InvalidInput


@takes_connection_options
def set_(
    name: ModelName,
    labels: Annotated[list[str], typer.Argument(metavar="LABEL=VERSION...", help="The labels to assign.")],
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
    """Assign labels to versions of a served model.

    Loads a version that is not loaded, waits until it is AVAILABLE, moves the labels, and unloads versions that have
    lost their last label. Requests are answered all the time. The configuration of the server is updated too, so a
    restart keeps the labels. If a step fails, the previous state is restored.

    \b
    Examples:
      tfsctl label amazon_review stable=1790000000 canary=1790000600
      tfsctl label amazon_review canary=1790000600 --message "new tokenizer"
      tfsctl label amazon_review stable=2 --config models.config --host 10.0.0.5 --port 8500
    """
    from tfsctl.cli.output import label_table, terminal
    from tfsctl.rollout.labels.label_changes import set_labels

    assigned = _parse(labels)
    with terminal.progress(quiet=as_json) as step:
        model = open_model(name, server, config, host, port, connection)
        change = set_labels(model, assigned, options=change_options(wait_timeout, message, step))
    terminal.answer_json(label_table.change_document(change)) if as_json else label_table.print_change(change)


def _parse(arguments: Sequence[str]) -> dict[str, int]:
    """The labels of LABEL=VERSION arguments. Raises InvalidInput."""
    from tfsctl.core.model_dir import parse_version

    labels: dict[str, int] = {}
    for argument in arguments:
        label, _, text = argument.partition("=")
        version = parse_version(text)
        if not label or version is None or label in labels:
            what = f"the label {label} is given twice" if label in labels else f"{argument!r} is not LABEL=VERSION"
            raise InvalidInput(what, hint="tfsctl label NAME stable=1 canary=2")
        labels[label] = version
    return labels


@takes_connection_options
def rm(
    name: ModelName,
    labels: Annotated[list[str], typer.Argument(metavar="LABEL...", help="The labels to remove.")],
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
    """Remove labels, and unload versions that have none left.

    A version that loses its last label is unloaded. If the model has no label left, the versions stay loaded.

    \b
    Examples:
      tfsctl label rm amazon_review canary
    """
    from tfsctl.cli.output import label_table, terminal
    from tfsctl.rollout.labels.label_changes import set_labels

    with terminal.progress(quiet=as_json) as step:
        model = open_model(name, server, config, host, port, connection)
        change = set_labels(
            model, {}, removed=tuple(dict.fromkeys(labels)), options=change_options(wait_timeout, message, step)
        )
    terminal.answer_json(label_table.change_document(change)) if as_json else label_table.print_change(change)


@takes_connection_options
def ls(
    name: ModelName,
    *,
    server: Server = None,
    config: ConfigFile = None,
    host: Host = DEFAULT_HOST,
    port: GrpcPort = DEFAULT_PORT,
    connection: Connection,
    as_json: Json = False,
) -> None:
    """List the labels of a served model.

    The last row is the version that answers requests without a label: the highest that is loaded.

    \b
    Examples:
      tfsctl label ls amazon_review
    """
    from tfsctl.cli.output import label_table, terminal
    from tfsctl.rollout.labels.label_changes import label_state

    with terminal.progress(quiet=True) as step:
        state = label_state(
            open_model(name, server, config, host, port, connection), change_options(DEFAULT_WAIT_TIMEOUT_S, "", step)
        )
    terminal.answer_json(label_table.state_document(state)) if as_json else label_table.print_state(state)


app = typer.Typer(
    cls=DefaultCommandGroup,
    help="""Assign labels, such as `stable`, to versions.

    Without a command, `set` is run.

    \b
    Examples:
      tfsctl label amazon_review stable=1790000000 canary=1790000600
      tfsctl label rm amazon_review canary
      tfsctl label ls amazon_review
    """,
    add_completion=False,
    rich_markup_mode=None,
)
app.command("set", cls=GroupedCommand)(set_)
app.command("rm", cls=GroupedCommand)(rm)
app.command("ls", cls=GroupedCommand)(ls)
