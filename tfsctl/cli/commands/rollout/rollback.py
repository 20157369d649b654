"""`tfsctl rollback`: move the label `stable` back to the version before."""

from __future__ import annotations

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
def rollback(
    name: ModelArgument,
    *,
    options: ManagedModelOptions,
    wait_timeout: WaitTimeoutOption = DEFAULT_WAIT_TIMEOUT_S,
    message: MessageOption = "",
    as_json: JsonOption = False,
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
    from tfsctl.rollout.labels import label_changes

    if options.is_tfsctl_server and rollout.finish_on_front(name, options.server, "rollback", as_json=as_json):
        return
    run_label_change(name, options, label_changes.rollback, wait_timeout=wait_timeout, message=message, as_json=as_json)
