"""`tfsctl label`: assign, remove and list the labels of a served model's versions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from tfsctl.cli.commands.rollout.label_change import run_label_change
from tfsctl.cli.options.managed_model_options import (
    ManagedModelOptions,
    MessageOption,
    ModelArgument,
    takes_managed_model_options,
)
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.running_server_options import DEFAULT_WAIT_TIMEOUT_S, WaitTimeoutOption
from tfsctl.cli.usage.default_command import DefaultCommandGroup
from tfsctl.cli.usage.help_format import GroupedCommand
from tfsctl.errors import InvalidInput


@takes_managed_model_options
def set_(
    name: ModelArgument,
    labels: Annotated[list[str], typer.Argument(metavar="LABEL=VERSION...", help="The labels to assign.")],
    *,
    options: ManagedModelOptions,
    wait_timeout: WaitTimeoutOption = DEFAULT_WAIT_TIMEOUT_S,
    message: MessageOption = "",
    as_json: JsonOption = False,
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
    from tfsctl.rollout.labels.label_changes import set_labels

    change = partial(set_labels, assigned=_parse_labels(labels))
    run_label_change(name, options, change, wait_timeout=wait_timeout, message=message, as_json=as_json)


def _parse_labels(arguments: Sequence[str]) -> dict[str, int]:
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


@takes_managed_model_options
def rm(
    name: ModelArgument,
    labels: Annotated[list[str], typer.Argument(metavar="LABEL...", help="The labels to remove.")],
    *,
    options: ManagedModelOptions,
    wait_timeout: WaitTimeoutOption = DEFAULT_WAIT_TIMEOUT_S,
    message: MessageOption = "",
    as_json: JsonOption = False,
) -> None:
    """Remove labels, and unload versions that have none left.

    A version that loses its last label is unloaded. If the model has no label left, the versions stay loaded.

    \b
    Examples:
      tfsctl label rm amazon_review canary
    """
    from tfsctl.rollout.labels.label_changes import set_labels

    change = partial(set_labels, assigned={}, removed=tuple(dict.fromkeys(labels)))
    run_label_change(name, options, change, wait_timeout=wait_timeout, message=message, as_json=as_json)


@takes_managed_model_options
def ls(
    name: ModelArgument,
    *,
    options: ManagedModelOptions,
    as_json: JsonOption = False,
) -> None:
    """List the labels of a served model.

    The last row is the version that answers requests without a label: the highest that is loaded.

    \b
    Examples:
      tfsctl label ls amazon_review
    """
    from tfsctl.cli.output import label_table, terminal
    from tfsctl.rollout.labels.label_changes import label_state

    state = label_state(options.find_model(name))
    if as_json:
        terminal.answer_json(label_table.state_document(state))
    else:
        label_table.print_state(state)


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
