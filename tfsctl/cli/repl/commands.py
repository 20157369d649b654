"""The `:commands` of the REPL: a table filled by the decorator `command`, from which `:help` and completion read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.cli.output import signature_table
from tfsctl.cli.repl import answer_lines, file_rows, settings
from tfsctl.cli.repl.line_result import LineResult
from tfsctl.core.types import ModelRef
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.cli.repl.session import ReplSession

_COMMAND = re.compile(r":([a-z]+)(?:\s+(\S.*?))?\s*")
PATHS = ("",)  # completion offers files and directories in its place
Run = Callable[["ReplSession", str], LineResult]
Choices = Callable[["ReplSession"], Iterable[str]]


def _no_choices(_session: ReplSession) -> Iterable[str]:
    return ()


_OTHER_LINES = [
    ('"""…"""', "Text as it is, over as many lines as it needs."),
    ("-i NAME=@FILE", "Values by name, as after tfsctl predict."),
    ("anything else", "Goes to the model, shaped as tfsctl predict does."),
]


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its names (`:help` shows the first), its argument, its help, its function, its argument's choices."""

    names: tuple[str, ...]
    argument: str
    help: str
    run: Run
    choices: Choices


TABLE: dict[str, Command] = {}


def command(*names: str, argument: str = "", choices: Choices = _no_choices) -> Callable[[Run], Run]:
    """Add a function to the table under its names. The first line of its docstring is its help text."""

    def add(run: Run) -> Run:
        entry = Command(names, argument, (run.__doc__ or "").partition("\n")[0], run, choices)
        TABLE.update(dict.fromkeys(names, entry))
        return run

    return add


def find(line: str) -> tuple[Command | None, str]:
    """Return the command of a line and its argument, or None if the line is input for the model.

    `:) great` and `:q is how I feel` are input: no command has that name, or it takes no argument. Raises InvalidInput
    for a `:word` alone that is not a command, and for a misspelt command with an argument, such as `:verison 2`.
    """
    match = _COMMAND.fullmatch(line)
    if match is None:
        return None, ""
    name, argument = f":{match[1]}", match[2] or ""
    found = TABLE.get(name)
    if found is not None:
        return (found, argument) if found.argument or not argument else (None, "")
    close = difflib.get_close_matches(name, [one for one in TABLE if not argument or TABLE[one].argument], n=1)
    if len(match[1]) == 1 or (argument and not close):
        return None, ""
    raise InvalidInput(
        f"there is no command {name}",
        hint=(f"did you mean {close[0]}?" if close else ":help lists the commands;") + ' text goes in quotes: "…"',
    )


@command(":help", ":h")
def show_help(_session: ReplSession, _argument: str) -> LineResult:
    """Show this list."""
    entries = list(dict.fromkeys(TABLE.values()))
    lines = [(f"{', '.join(entry.names)} {entry.argument}".rstrip(), entry.help) for entry in entries]
    lines += _OTHER_LINES
    width = max(len(head) for head, _ in lines)
    return LineResult(answer=tuple(f"{head:<{width}}  {text}" for head, text in lines))


@command(":metadata")
def show_metadata(session: ReplSession, _argument: str) -> LineResult:
    """Show the model's signatures."""
    session.refresh()
    rows = signature_table.rows(session.served.signatures.values())
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return LineResult(answer=(session.place, *lines))


@command(":model", argument="[NAME]", choices=lambda session: session.known_models())
def choose_model(session: ReplSession, argument: str) -> LineResult:
    """Show the model's versions, or talk to another model of this server."""
    if argument:
        session.switch(model=ModelRef(argument))
        return LineResult(notes=(session.place,))
    versions = session.client.status(ModelRef(session.target.model.name))
    states = (f"{session.served.name} version {status.version} {status.state}" for status in versions)
    return LineResult(answer=tuple(states))


@command(":set", argument="[NAME [VALUE]]", choices=lambda _session: settings.TABLE)
def change_setting(session: ReplSession, argument: str) -> LineResult:
    """Show the settings, or change one; without a value back to what it is by itself."""
    if not argument:
        width = max(map(len, settings.TABLE))
        return LineResult(
            answer=tuple(
                f"{name:<{width}}  {entry.show(session) or '-':<20}  {entry.help}".rstrip()
                for name, entry in settings.TABLE.items()
            )
        )
    name, _, value = argument.partition(" ")
    return _change(session, name, value.strip())


def _change(session: ReplSession, name: str, value: str) -> LineResult:
    entry = settings.find(name)
    place = session.place
    entry.change(session, value)
    notes = (f"{name}: {entry.show(session) or '-'}",)
    return LineResult(notes=notes if session.place == place else (*notes, session.place))


def _add_shortcut(name: str, argument: str, help_text: str) -> None:
    """Add a command for a setting: `:verb classify` is short for `:set verb classify`, and `:verb` shows the value."""

    def run(session: ReplSession, argument: str) -> LineResult:
        if argument:
            return _change(session, name, argument)
        return LineResult(answer=(f"{name}: {settings.TABLE[name].show(session) or '-'}",))

    run.__doc__ = help_text
    command(f":{name}", argument=argument, choices=settings.TABLE[name].choices)(run)


_add_shortcut("verb", "[VERB]", "Show or choose how the model is asked: predict, classify or regress.")
_add_shortcut("signature", "[NAME]", "Show or choose what is asked of it.")
_add_shortcut("version", "[N|latest]", "Show or choose the version that is asked.")
_add_shortcut("label", "[NAME]", "Show or choose the version by its label.")


@command(":grpc")
def use_grpc(session: ReplSession, _argument: str) -> LineResult:
    """Ask over gRPC."""
    session.switch(transport="grpc", signature=session.signature_name)
    return LineResult(notes=(session.place,))


@command(":rest")
def use_rest(session: ReplSession, _argument: str) -> LineResult:
    """Ask over REST."""
    session.switch(transport="rest", signature=session.signature_name)
    return LineResult(notes=(session.place,))


@command(":json")
def toggle_json(session: ReplSession, _argument: str) -> LineResult:
    """Show answers as JSON, or as text again."""
    _change(session, "json", "off" if session.style.as_json else "on")
    return LineResult(notes=(f"answers are {'JSON' if session.style.as_json else 'text'} now",))


@command(":time")
def toggle_time(session: ReplSession, _argument: str) -> LineResult:
    """Show how long each request took, or no longer."""
    _change(session, "time", "off" if session.show_latency else "on")
    return LineResult(notes=(f"times are {'shown' if session.show_latency else 'not shown'} now",))


@command(":last")
def show_last(session: ReplSession, _argument: str) -> LineResult:
    """Show the last answer again: all of it, as JSON."""
    if session.last is None:
        raise InvalidInput("nothing was answered yet")
    return LineResult(answer=(answer_lines.as_json(session.last, session.style.class_options),))


@command(":curl")
def show_curl(session: ReplSession, _argument: str) -> LineResult:
    """Show the curl command that asks the last input again."""
    from tfsctl.cli.snippets import curl
    from tfsctl.cli.snippets.secrets import without_secrets

    request, secrets = without_secrets(session.last_request())
    notes = (f"{what} is not shown; export {variable}=…" for variable, what in secrets.items())
    return LineResult(answer=(curl.snippet(request),), notes=tuple(notes))


@command(":file", argument="PATH", choices=lambda _session: PATHS)
def answer_file(session: ReplSession, argument: str) -> LineResult:
    """Answer the rows of a file, as `tfsctl predict --file` does, up to 1000."""
    path = str(Path(argument).expanduser())
    return file_rows.predict_file_rows(session, path)


@command(":q", ":quit", ":exit")
def leave(_session: ReplSession, _argument: str) -> LineResult:
    """Leave (also Ctrl-D)."""
    return LineResult(leave=True)
