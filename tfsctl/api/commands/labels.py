"""`label`, `promote` and `rollback`: change the labels of a model on a running server from Python."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from tfsctl.api.hints import python_errors
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.rollout.labels.label_changes import LabelChange


@python_errors()
def label(
    model: str,
    labels: Mapping[str, int] | None = None,
    *,
    remove: Collection[str] = (),
    server: str | None = None,
    message: str = "",
    wait_timeout_s: float = 60.0,
) -> LabelChange:
    """Assign labels to versions of a model (`labels`: name -> version), and remove labels.

    Versions that are not loaded are loaded first, and versions that lose their last label are unloaded. `server` is the
    name of the server if several serve the model; `message` is a remark for `tfsctl history`. Raises NotFound for an
    unknown model, version or label, InvalidInput if several servers match, and RolloutError if a step fails: the
    previous state is then restored.
    """
    from tfsctl.rollout.labels.label_changes import ChangeOptions, find_model, set_labels

    options = ChangeOptions(wait_timeout_s, message)
    return set_labels(find_model(model, server=server), labels or {}, removed=remove, options=options)


@python_errors()
def promote(
    model: str,
    *,
    version: int | None = None,
    require_blessing: bool = False,
    server: str | None = None,
    message: str = "",
    wait_timeout_s: float = 60.0,
) -> LabelChange:
    """Move the label `stable` to a version (default: the one labelled `canary`, or the latest on disk).

    The earlier stable version stays loaded as `previous`. Raises what `label` raises, and NotBlessed if
    `require_blessing` and the version did not pass its last comparison.
    """
    from tfsctl.rollout.labels import label_changes

    _check_no_front(model, server, "promote")
    options = label_changes.ChangeOptions(wait_timeout_s, message)
    found = label_changes.find_model(model, server=server)
    return label_changes.promote(found, version=version, require_blessing=require_blessing, options=options)


@python_errors()
def rollback(model: str, *, server: str | None = None, message: str = "", wait_timeout_s: float = 60.0) -> LabelChange:
    """Make the previous version stable again, and unload the one rolled back from.

    It stays loaded if another label names it. Raises what `label` raises.
    """
    from tfsctl.rollout.labels import label_changes

    _check_no_front(model, server, "rollback")
    options = label_changes.ChangeOptions(wait_timeout_s, message)
    return label_changes.rollback(label_changes.find_model(model, server=server), options=options)


def _check_no_front(model: str, server: str | None, action: str) -> None:
    """Raise InvalidInput for a model behind a front, whose versions change by rollouts."""
    from tfsctl.rollout.front import operations

    if operations.is_behind_front(model, server=server):
        raise InvalidInput(
            f"{model} is served by a front, which has no label to move",
            hint=f'tfsctl.find_rollout("{model}").{action}()',
        )
