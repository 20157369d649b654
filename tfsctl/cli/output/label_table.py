"""Print the labels of a model, and what a change of labels did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfsctl.cli.output import terminal

if TYPE_CHECKING:
    from tfsctl.rollout.labels.label_changes import LabelChange, LabelState


def state_document(state: LabelState) -> dict[str, Any]:
    """The labels as JSON values. The keys are documented in docs/reference.md."""
    return {
        "model": state.model,
        "server": state.server,
        "labels": dict(state.labels),
        "loaded": list(state.loaded),
        "unlabelled_version": state.unlabelled_version,
        "notes": list(state.notes),
    }


def change_document(change: LabelChange) -> dict[str, Any]:
    """The change as JSON values."""
    return {
        **state_document(change),
        "labels_before": dict(change.labels_before),
        "released": list(change.released),
        "seconds": round(change.seconds, 4),
    }


def print_state(state: LabelState) -> None:
    """Print a row for each label, and the version of requests without one."""
    rows = [(label, str(version)) for label, version in sorted(state.labels.items())]
    unlabelled = "none" if state.unlabelled_version is None else str(state.unlabelled_version)
    terminal.answer_table(("label", "version"), [*rows, ("(no label)", unlabelled)])
    _say_notes(state)


def print_change(change: LabelChange) -> None:
    """Print what moved, from where to where."""
    for label in sorted({*change.labels, *change.labels_before}):
        before, after = change.labels_before.get(label), change.labels.get(label)
        if before != after:
            terminal.answer(f"{label}: {_version(before)} -> {_version(after)}")
        else:
            terminal.answer(f"{label}: {after}")
    if change.released:
        terminal.say(f"unloaded: {', '.join(map(str, change.released))}")
    _say_notes(change)


def _version(version: int | None) -> str:
    return "none" if version is None else str(version)


def _say_notes(state: LabelState) -> None:
    for note in state.notes:
        terminal.say_note(note)
