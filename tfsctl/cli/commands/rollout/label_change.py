"""`run_label_change`: what `label set`, `label rm`, `promote` and `rollback` have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tfsctl.cli.options.managed_model_options import ManagedModelOptions

if TYPE_CHECKING:
    from tfsctl.rollout.labels.label_changes import LabelChange


def run_label_change(
    name: str,
    options: ManagedModelOptions,
    change: Callable[..., LabelChange],
    *,
    wait_timeout: float,
    message: str,
    as_json: bool,
) -> None:
    """Find the model, change its labels, and print what moved. The steps are shown on stderr.

    - `change`: a function of `rollout/labels/label_changes.py` with all arguments except the model and `options`
    - `wait_timeout`: how long versions may load, in seconds
    - `message`: the comment for the history
    """
    from tfsctl.cli.output import label_table, terminal
    from tfsctl.rollout.labels.label_changes import ChangeOptions

    with terminal.progress(quiet=as_json) as step:
        changed = change(options.find_model(name), options=ChangeOptions(wait_timeout, message, step))
    if as_json:
        terminal.answer_json(label_table.change_document(changed))
    else:
        label_table.print_change(changed)
