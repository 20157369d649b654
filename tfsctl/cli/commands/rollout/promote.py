"""`tfsctl promote`: move the label `stable` to a new version."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from tfsctl.cli.commands.rollout import rollout
from tfsctl.cli.commands.rollout.label_change import run_label_change
from tfsctl.cli.options.managed_model_options import (
    ManagedModelOptions,
    MessageOption,
    ModelArgument,
    takes_managed_model_options,
)
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.running_server_options import DEFAULT_WAIT_TIMEOUT_S, WaitTimeoutOption


@takes_managed_model_options
def promote(
    name: ModelArgument,
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
    options: ManagedModelOptions,
    wait_timeout: WaitTimeoutOption = DEFAULT_WAIT_TIMEOUT_S,
    message: MessageOption = "",
    as_json: JsonOption = False,
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
    from tfsctl.rollout.labels import label_changes

    if options.is_tfsctl_server and rollout.finish_on_front(
        name, options.server, "promote", version=version, require_blessing=require_blessing, as_json=as_json
    ):
        return
    change = partial(label_changes.promote, version=version, require_blessing=require_blessing)
    run_label_change(name, options, change, wait_timeout=wait_timeout, message=message, as_json=as_json)
