"""The commands of the repl: a table filled by decorator, which is also what `:help` shows."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfsctl.cli import _signatures
from tfsctl.cli._repl.reply import Reply
from tfsctl.core.types import ModelRef
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.cli._repl.session import Session

_COMMAND = re.compile(r":([a-z]+)(?:\s+(\S.*?))?\s*")
Run = Callable[["Session", str], Reply]


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its names (the first is the one shown), what it takes, what it does."""

    names: tuple[str, ...]
    takes: str
    help: str
    run: Run


TABLE: dict[str, Command] = {}


def command(*names: str, takes: str = "") -> Callable[[Run], Run]:
    """Put a function into the table under its names; its docstring's first line is its help."""

    def add(run: Run) -> Run:
        entry = Command(names, takes, (run.__doc__ or "").partition("\n")[0], run)
        TABLE.update(dict.fromkeys(names, entry))
        return run

    return add


def find(line: str) -> tuple[Command | None, str]:
    """The command a line calls for and its argument; None for a line that is input for the model.

    `:) great` and `:q is how I feel` are input: no command has that name, or it takes no argument. Raises InvalidInput
    for a lone `:word` that is no command.
    """
    match = _COMMAND.fullmatch(line)
    if match is None:
        return None, ""
    name, argument = f":{match[1]}", match[2] or ""
    found = TABLE.get(name)
    if found is not None:
        return (found, argument) if found.takes or not argument else (None, "")
    if argument or len(match[1]) == 1:
        return None, ""
    close = difflib.get_close_matches(name, TABLE, n=1)
    raise InvalidInput(
        f"there is no command {name}",
        hint=f"did you mean {close[0]}?" if close else ':help lists the commands; text goes in quotes: "…"',
    )


@command(":help", ":h")
def show_help(_session: Session, _argument: str) -> Reply:
    """Show this list."""
    entries = list(dict.fromkeys(TABLE.values()))
    heads = [f"{', '.join(entry.names)} {entry.takes}".rstrip() for entry in entries]
    width = max(map(len, heads))
    return Reply(
        answer=(
            *(f"{head:<{width}}  {entry.help}" for head, entry in zip(heads, entries, strict=True)),
            f"{'anything else':<{width}}  Goes to the model, shaped as tfsctl predict does.",
        )
    )


@command(":metadata")
def show_metadata(session: Session, _argument: str) -> Reply:
    """Show the model's signatures."""
    session.refresh()
    rows = _signatures.rows(session.served.signatures.values())
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return Reply(answer=(session.place, *lines))


@command(":model", takes="[NAME]")
def choose_model(session: Session, argument: str) -> Reply:
    """Show the model's versions, or talk to another model of this server."""
    if argument:
        session.switch(model=argument)
        return Reply(notes=(session.place,))
    versions = session.client.status(ModelRef(session.target.model.name))
    states = (f"{session.served.name} version {status.version} {status.state}" for status in versions)
    return Reply(answer=tuple(states))


@command(":grpc")
def use_grpc(session: Session, _argument: str) -> Reply:
    """Ask over gRPC."""
    session.switch(transport="grpc")
    return Reply(notes=(session.place,))


@command(":rest")
def use_rest(session: Session, _argument: str) -> Reply:
    """Ask over REST."""
    session.switch(transport="rest")
    return Reply(notes=(session.place,))


@command(":json")
def toggle_json(session: Session, _argument: str) -> Reply:
    """Show answers as JSON, or as text again."""
    session.as_json = not session.as_json
    return Reply(notes=(f"answers are {'JSON' if session.as_json else 'text'} now",))


@command(":q", ":quit", ":exit")
def leave(_session: Session, _argument: str) -> Reply:
    """Leave (also Ctrl-D)."""
    return Reply(leave=True)
