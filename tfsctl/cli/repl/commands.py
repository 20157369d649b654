"""The commands of the repl: a table filled by decorator, which is also what `:help` shows."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.cli.output import signatures
from tfsctl.cli.repl import file_rows, settings, transcript
from tfsctl.cli.repl.reply import Reply
from tfsctl.core.types import ModelRef
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.cli.repl.session import Session

_COMMAND = re.compile(r":([a-z]+)(?:\s+(\S.*?))?\s*")
PATHS = ("",)  # what completion takes for any path
Run = Callable[["Session", str], Reply]
Choices = Callable[["Session"], Iterable[str]]


def _no_choices(_session: Session) -> Iterable[str]:
    return ()


_OTHER_LINES = [
    ('"""…"""', "Text as it is, over as many lines as it needs."),
    ("-i NAME=@FILE", "Values by name, as after tfsctl predict."),
    ("anything else", "Goes to the model, shaped as tfsctl predict does."),
]


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its names (the first is the one shown), what it takes, what it does, what it may be given."""

    names: tuple[str, ...]
    takes: str
    help: str
    run: Run
    choices: Choices


TABLE: dict[str, Command] = {}


def command(*names: str, takes: str = "", choices: Choices = _no_choices) -> Callable[[Run], Run]:
    """Put a function into the table under its names; its docstring's first line is its help."""

    def add(run: Run) -> Run:
        entry = Command(names, takes, (run.__doc__ or "").partition("\n")[0], run, choices)
        TABLE.update(dict.fromkeys(names, entry))
        return run

    return add


def find(line: str) -> tuple[Command | None, str]:
    """The command a line calls for and its argument; None for a line that is input for the model.

    `:) great` and `:q is how I feel` are input: no command has that name, or it takes no argument. Raises InvalidInput
    for a lone `:word` that is no command, and for one that is nearly a command and has an argument, as `:verison 2`.
    """
    match = _COMMAND.fullmatch(line)
    if match is None:
        return None, ""
    name, argument = f":{match[1]}", match[2] or ""
    found = TABLE.get(name)
    if found is not None:
        return (found, argument) if found.takes or not argument else (None, "")
    close = difflib.get_close_matches(name, [one for one in TABLE if not argument or TABLE[one].takes], n=1)
    if len(match[1]) == 1 or (argument and not close):
        return None, ""
    raise InvalidInput(
        f"there is no command {name}",
        hint=(f"did you mean {close[0]}?" if close else ":help lists the commands;") + ' text goes in quotes: "…"',
    )


@command(":help", ":h")
def show_help(_session: Session, _argument: str) -> Reply:
    """Show this list."""
    entries = list(dict.fromkeys(TABLE.values()))
    lines = [(f"{', '.join(entry.names)} {entry.takes}".rstrip(), entry.help) for entry in entries]
    lines += _OTHER_LINES
    width = max(len(head) for head, _ in lines)
    return Reply(answer=tuple(f"{head:<{width}}  {text}" for head, text in lines))


@command(":metadata")
def show_metadata(session: Session, _argument: str) -> Reply:
    """Show the model's signatures."""
    session.refresh()
    rows = signatures.rows(session.served.signatures.values())
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return Reply(answer=(session.place, *lines))


@command(":model", takes="[NAME]", choices=lambda session: session.known_models())
def choose_model(session: Session, argument: str) -> Reply:
    """Show the model's versions, or talk to another model of this server."""
    if argument:
        session.switch(model=ModelRef(argument))
        return Reply(notes=(session.place,))
    versions = session.client.status(ModelRef(session.target.model.name))
    states = (f"{session.served.name} version {status.version} {status.state}" for status in versions)
    return Reply(answer=tuple(states))


@command(":set", takes="[NAME [VALUE]]", choices=lambda _session: settings.TABLE)
def change_setting(session: Session, argument: str) -> Reply:
    """Show the settings, or change one; without a value back to what it is by itself."""
    if not argument:
        width = max(map(len, settings.TABLE))
        return Reply(
            answer=tuple(
                f"{name:<{width}}  {entry.show(session) or '-':<20}  {entry.help}".rstrip()
                for name, entry in settings.TABLE.items()
            )
        )
    name, _, value = argument.partition(" ")
    return _change(session, name, value.strip())


def _change(session: Session, name: str, value: str) -> Reply:
    entry = settings.find(name)
    place = session.place
    entry.change(session, value)
    notes = (f"{name}: {entry.show(session) or '-'}",)
    return Reply(notes=notes if session.place == place else (*notes, session.place))


def _add_shortcut(name: str, takes: str, words: str) -> None:
    """A command for a setting that is changed often: `:verb classify` is `:set verb classify`, `:verb` shows it."""

    def run(session: Session, argument: str) -> Reply:
        if argument:
            return _change(session, name, argument)
        return Reply(answer=(f"{name}: {settings.TABLE[name].show(session) or '-'}",))

    run.__doc__ = words
    command(f":{name}", takes=takes, choices=settings.TABLE[name].choices)(run)


_add_shortcut("verb", "[VERB]", "Show or choose how the model is asked: predict, classify or regress.")
_add_shortcut("signature", "[NAME]", "Show or choose what is asked of it.")
_add_shortcut("version", "[N|latest]", "Show or choose the version that is asked.")
_add_shortcut("label", "[NAME]", "Show or choose the version by its label.")


@command(":grpc")
def use_grpc(session: Session, _argument: str) -> Reply:
    """Ask over gRPC."""
    session.switch(transport="grpc", signature=session.signature_name)
    return Reply(notes=(session.place,))


@command(":rest")
def use_rest(session: Session, _argument: str) -> Reply:
    """Ask over REST."""
    session.switch(transport="rest", signature=session.signature_name)
    return Reply(notes=(session.place,))


@command(":json")
def toggle_json(session: Session, _argument: str) -> Reply:
    """Show answers as JSON, or as text again."""
    _change(session, "json", "off" if session.style.as_json else "on")
    return Reply(notes=(f"answers are {'JSON' if session.style.as_json else 'text'} now",))


@command(":time")
def toggle_time(session: Session, _argument: str) -> Reply:
    """Show how long each request took, or no longer."""
    _change(session, "time", "off" if session.timed else "on")
    return Reply(notes=(f"times are {'shown' if session.timed else 'not shown'} now",))


@command(":last")
def show_last(session: Session, _argument: str) -> Reply:
    """Show the last answer again: all of it, as JSON."""
    if session.last is None:
        raise InvalidInput("nothing was answered yet")
    return Reply(answer=(transcript.whole(session.last, session.style.view),))


@command(":curl")
def show_curl(session: Session, _argument: str) -> Reply:
    """Show the curl command that asks the last input again."""
    from tfsctl.cli.snippets import curl
    from tfsctl.cli.snippets.secrets import without_secrets

    call, secrets = without_secrets(session.call_of_last())
    notes = (f"{what} is not shown; export {variable}=…" for variable, what in secrets.items())
    return Reply(answer=(curl.shown(call),), notes=tuple(notes))


@command(":file", takes="PATH", choices=lambda _session: PATHS)
def answer_file(session: Session, argument: str) -> Reply:
    """Answer the rows of a file, as `tfsctl predict --file` does, up to 1000."""
    path = str(Path(argument).expanduser())
    return file_rows.answer(session, path)


@command(":q", ":quit", ":exit")
def leave(_session: Session, _argument: str) -> Reply:
    """Leave (also Ctrl-D)."""
    return Reply(leave=True)
