"""`tfsctl history`: who changed which version or label of a model, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options.completion import complete_models
from tfsctl.cli.options.output_options import JsonOption

if TYPE_CHECKING:
    from tfsctl.core.history.event import Event

COLUMNS = ("time", "who", "action", "what", "server", "message")


def history(
    target: Annotated[
        str,
        typer.Argument(
            metavar="PATH|NAME",
            autocompletion=complete_models,
            help="The directory of a model, or its name on a server.",
        ),
    ],
    *,
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Print the last N events.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print who changed the versions and labels of a model.

    Events are exports, changes of labels, promotions, rollbacks and removals. They are in the file
    .tfsctl-history.jsonl in the model's directory.

    \b
    Examples:
      tfsctl history ./amazon_review
      tfsctl history amazon_review --limit 5 --json
    """
    from tfsctl.cli.output import terminal
    from tfsctl.core.history import journal
    from tfsctl.rollout.inventory import directory_of

    base = directory_of(target)
    events = journal.read(base)[-(limit or 0) :]
    if as_json:
        terminal.answer_json({"path": str(base), "events": [event.to_document() for event in events]})
        return
    if not events:
        terminal.say_note(f"{base} has no history yet")
        return
    terminal.answer_table(COLUMNS, [_row(event) for event in events])


def _row(event: Event) -> tuple[str, ...]:
    from tfsctl.cli.output import terminal

    time = event.time.replace("+00:00", "Z") if terminal.is_interactive() else event.time
    return (time, event.who, event.action, _event_text(event), event.server or "", event.message)


def _event_text(event: Event) -> str:
    """The versions, or for a change of labels from where to where each label moved."""
    from tfsctl.cli.output import terminal

    names = sorted({*event.labels, *event.labels_before})
    moves = [
        f"{name}: {event.labels_before.get(name, 'none')} -> {event.labels.get(name, 'none')}"
        for name in names
        if event.labels.get(name) != event.labels_before.get(name)
    ]
    return ("\n" if terminal.is_interactive() else ", ").join(moves) or ", ".join(map(str, event.versions))
