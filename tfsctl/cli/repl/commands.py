"""The `:commands` of the REPL: a table filled by the decorator `command`, from which `:help` and completion read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.cli.output import alignment, signature_table
from tfsctl.cli.repl import answer_lines, file_rows, settings
from tfsctl.cli.repl.line_result import LineResult
from tfsctl.cli.repl.triple_quotes import QUOTES
from tfsctl.core.types import ModelRef
from tfsctl.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from tfsctl.cli.repl.repl_session import ReplSession

_COMMAND = re.compile(r"\s*(:\S*)(?:\s+(\S.*?))?\s*", re.DOTALL)
_ESCAPE = "::"
_MAX_SHOWN_CHARS = 60
COMPLETE_PATHS = ("",)  # completion offers files and directories in its place
Handler = Callable[["ReplSession", str], LineResult]
Choices = Callable[["ReplSession"], Iterable[str]]


def _no_choices(_session: ReplSession) -> Iterable[str]:
    return ()


_OTHER_LINES = [
    ("-i NAME=VALUE", "Send values by name; NAME=@FILE reads a file."),
    ('"""…"""', "Send text of several lines without parsing it."),
    ("::TEXT", "Send input that begins with a colon."),
    ("anything else", "Send the line to the model, like tfsctl predict."),
]


@dataclass(frozen=True, slots=True)
class ReplCommand:
    """One command: its names (`:help` shows the first), its argument, its help, its function, its argument's choices."""

    names: tuple[str, ...]
    argument: str
    help: str
    run: Handler
    choices: Choices

    @property
    def usage(self) -> str:
        """The names and the argument: `:q, :quit, :exit`."""
        return f"{', '.join(self.names)} {self.argument}".rstrip()


REPL_COMMANDS: dict[str, ReplCommand] = {}


def command(*names: str, argument: str = "", choices: Choices = _no_choices) -> Callable[[Handler], Handler]:
    """Add a function to the table under its names. The first line of its docstring is its help text."""

    def add(run: Handler) -> Handler:
        entry = ReplCommand(names, argument, (run.__doc__ or "").partition("\n")[0], run, choices)
        REPL_COMMANDS.update(dict.fromkeys(names, entry))
        return run

    return add


def find_command(line: str) -> tuple[ReplCommand | None, str]:
    """Return the command of a line and its argument, or None and the input that the line holds.

    A line that begins with a colon is always a command, also after blanks. `::` escapes the colon: `::)` is the input
    `:)`. Raises InvalidInput for an unknown command, and for an argument of a command that takes none.
    """
    match = _COMMAND.fullmatch(line)
    if match is None:
        return None, line
    name, argument = match[1], match[2] or ""
    if name.startswith(_ESCAPE):
        return None, line.replace(_ESCAPE, ":", 1)
    found = REPL_COMMANDS.get(name.lower())
    if found is None:
        if name[1:].lower() in settings.SETTINGS:
            hint = f"did you mean :set {name[1:].lower()}? {_escape_hint(line)}"
            raise InvalidInput(f"there is no command {_shortened(name)}", hint=hint)
        close = difflib.get_close_matches(name.lower(), REPL_COMMANDS, n=1) if len(name) > len(":q") else []
        raise InvalidInput(
            f"there is no command {_shortened(name)}",
            hint=(f"did you mean {close[0]}? " if close else ":help lists the commands. ") + _escape_hint(line),
        )
    if argument and not found.argument:
        raise InvalidInput(f"{name} takes no argument", hint=f"type {name} alone. {_escape_hint(line)}")
    return found, argument


def _escape_hint(line: str) -> str:
    return f"To send the line as input: {_shortened(line.strip().replace(':', _ESCAPE, 1))}"


def _shortened(text: str) -> str:
    first, *more = text.split("\n", 1)
    return f"{first[:_MAX_SHOWN_CHARS]}…" if more or len(first) > _MAX_SHOWN_CHARS else first


_LEAVE = {"quit", "exit", "q", "bye", "logout"}
_HELP = {"help", "?"}


def escape_hint_for(line: str) -> str:
    """The hint for a word such as `quit` that a person at a terminal probably did not mean as input; otherwise empty."""
    word = line.strip().lower().lstrip("\\/").removesuffix("()")
    if word not in _LEAVE | _HELP:
        return ""
    question = "leave? :q" if word in _LEAVE else "help? :help"
    return f"{question}   (to send it to the model: :text {line.strip()})"


@command(":help", ":h", argument="[COMMAND]", choices=lambda _session: [*REPL_COMMANDS, *settings.SETTINGS])
def show_help(session: ReplSession, argument: str) -> LineResult:
    """List the commands, or show one of them."""
    if argument:
        return LineResult(answer=tuple(_describe(session, argument)))
    entries = list(dict.fromkeys(REPL_COMMANDS.values()))
    lines = [(entry.usage, entry.help) for entry in entries] + _OTHER_LINES
    width = max(len(usage) for usage, _ in lines)
    return LineResult(answer=tuple(f"{usage:<{width}}  {text}" for usage, text in lines))


def _describe(session: ReplSession, argument: str) -> list[str]:
    """The usage, help and choices of one command or setting. Raises InvalidInput if there is none."""
    name = argument.lower().lstrip(":")
    entry, setting = REPL_COMMANDS.get(f":{name}"), settings.SETTINGS.get(name)
    if entry is not None:
        lines, choices = [entry.usage, f"  {entry.help}"], list(entry.choices(session))
    elif setting is not None:
        lines, choices = [f":set {name} [VALUE]", f"  {setting.help}"], list(setting.choices(session))
    else:
        known = [*REPL_COMMANDS, *settings.SETTINGS]
        close = difflib.get_close_matches(f":{name}", known, n=1) or difflib.get_close_matches(name, known, n=1)
        raise InvalidInput(
            f"there is no command {_shortened(argument)}",
            hint=f"did you mean :help {close[0]}?" if close else ":help lists the commands",
        )
    return lines if not any(choices) else [*lines, f"  Choices: {', '.join(choices)}"]


@command(":text", argument="TEXT")
def send_text(session: ReplSession, argument: str) -> LineResult:
    """Send text as it is: no command, no JSON, no NAME=VALUE."""
    if not argument:
        raise InvalidInput("there is no text to send", hint=":text TEXT")
    return session.query(f"{QUOTES}{argument}{QUOTES}")


@command(":metadata")
def show_metadata(session: ReplSession, _argument: str) -> LineResult:
    """Show the model's signatures."""
    session.refresh()
    rows = signature_table.rows(session.served.signatures.values())
    widths = [alignment.widest(column) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(alignment.padded(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return LineResult(answer=(session.place, *lines))


@command(":server", argument="[NAME]", choices=lambda session: session.servers())
def switch_server(session: ReplSession, argument: str) -> LineResult:
    """List the running servers that tfsctl started, or query another one."""
    if argument:
        session.switch_server(argument)
        return LineResult(notes=(session.place,))
    return LineResult(answer=_marked(session.servers(), session.target.server or ""))


@command(":model", argument="[NAME]", choices=lambda session: session.known_models())
def switch_model(session: ReplSession, argument: str) -> LineResult:
    """List the models of this server, or query another one."""
    if argument:
        try:
            session.switch(model=ModelRef(argument))
        except NotFound as error:
            close = difflib.get_close_matches(argument, session.known_models(), n=1)
            if close and close != [argument]:
                error.hint = f"did you mean :model {close[0]}?"
            raise
        return LineResult(notes=(session.place,))
    models = session.known_models()
    notes = () if session.knows_models() else ("other models are unknown: tfsctl did not start this server",)
    return LineResult(answer=_marked(models, session.target.model.name), notes=notes)


def _marked(choices: Iterable[str], current: str) -> tuple[str, ...]:
    """One line per choice. An asterisk marks the current one."""
    return tuple(f"{'*' if choice == current else ' '} {choice}" for choice in choices)


@command(":set", argument="[NAME [VALUE]]", choices=lambda _session: settings.SETTINGS)
def change_setting(session: ReplSession, argument: str) -> LineResult:
    """List the settings, or change one (without a value: to its default)."""
    if not argument:
        width = max(map(len, settings.SETTINGS))
        return LineResult(
            answer=tuple(
                f"{name:<{width}}  {entry.show(session) or '-':<20}  {entry.help}".rstrip()
                for name, entry in settings.SETTINGS.items()
            )
        )
    name, _, value = argument.partition(" ")
    return _change(session, name, value.strip())


def _change(session: ReplSession, name: str, value: str) -> LineResult:
    entry = settings.find_setting(name)
    place = session.place
    entry.change(session, value)
    notes = (f"{name}: {entry.show(session) or '-'}",)
    return LineResult(notes=notes if session.place == place else (*notes, session.place))


@command(":verb", argument="[VERB]", choices=lambda _session: settings.VERBS)
def switch_verb(session: ReplSession, argument: str) -> LineResult:
    """List the methods (predict, classify, regress), or choose one."""
    if argument:
        return _change(session, "verb", argument)
    return LineResult(answer=_marked(settings.VERBS, session.verb))


@command(":signature", argument="[NAME]", choices=settings.SETTINGS["signature"].choices)
def switch_signature(session: ReplSession, argument: str) -> LineResult:
    """List the model's signatures, or choose one."""
    if argument:
        return _change(session, "signature", argument)
    session.refresh()
    return LineResult(answer=_marked(session.served.signatures, session.signature.name))


@command(":version", argument="[N|latest]", choices=settings.SETTINGS["version"].choices)
def switch_version(session: ReplSession, argument: str) -> LineResult:
    """List the model's versions and their states, or choose one."""
    if argument:
        return _change(session, "version", argument)
    session.refresh()
    versions = session.client.status(ModelRef(session.target.model.name))
    current = f"{session.served.version} "
    return LineResult(
        answer=tuple(
            f"{'*' if line.startswith(current) else ' '} {line}"
            for line in (f"{one.version} {one.state} {one.error_message}".rstrip() for one in versions)
        )
    )


@command(":label", argument="[NAME]", choices=settings.SETTINGS["label"].choices)
def switch_label(session: ReplSession, argument: str) -> LineResult:
    """List the model's version labels, or choose a version by its label."""
    if argument:
        return _change(session, "label", argument)
    labels = list(session.version_labels())
    if labels:
        return LineResult(answer=_marked(labels, session.target.model.label or ""))
    if session.knows_models():
        return LineResult(notes=(f"{session.served.name} has no version labels",))
    return LineResult(notes=("the labels are unknown: tfsctl did not start this server",))


@command(":grpc")
def use_grpc(session: ReplSession, _argument: str) -> LineResult:
    """Send requests over gRPC."""
    session.switch(transport="grpc", signature=session.signature_name)
    return LineResult(notes=(session.place,))


@command(":rest")
def use_rest(session: ReplSession, _argument: str) -> LineResult:
    """Send requests over REST."""
    session.switch(transport="rest", signature=session.signature_name)
    return LineResult(notes=(session.place,))


@command(":json", argument="[on|off]", choices=settings.SETTINGS["json"].choices)
def set_json(session: ReplSession, argument: str) -> LineResult:
    """Print predictions as JSON, or as text again."""
    _change(session, "json", argument or ("off" if session.style.as_json else "on"))
    return LineResult(notes=(f"predictions are printed as {'JSON' if session.style.as_json else 'text'} now",))


@command(":time", argument="[on|off]", choices=settings.SETTINGS["time"].choices)
def set_time(session: ReplSession, argument: str) -> LineResult:
    """Show the duration of each request, or hide it again."""
    _change(session, "time", argument or ("off" if session.show_latency else "on"))
    return LineResult(notes=(f"durations are {'shown' if session.show_latency else 'hidden'} now",))


@command(":last")
def show_last(session: ReplSession, _argument: str) -> LineResult:
    """Print the last prediction in full, as JSON."""
    if session.last is None:
        raise InvalidInput("there is no prediction yet", hint="type an input first")
    return LineResult(answer=(answer_lines.as_json(session.last, session.style.class_options),))


@command(":curl")
def show_curl(session: ReplSession, _argument: str) -> LineResult:
    """Print a curl command that sends the last input."""
    from tfsctl.cli.snippets import curl
    from tfsctl.cli.snippets.secrets import without_secrets

    request, secrets = without_secrets(session.last_request())
    notes = (f"{what} is not shown; export {variable}=…" for variable, what in secrets.items())
    return LineResult(answer=(curl.snippet(request),), notes=tuple(notes))


@command(":file", argument="PATH", choices=lambda _session: COMPLETE_PATHS)
def send_file(session: ReplSession, argument: str) -> LineResult:
    """Predict the rows of a file (the first 1000), as tfsctl predict --file does."""
    if not argument:
        raise InvalidInput("the file is missing", hint=":file PATH")
    path = str(Path(argument).expanduser())
    return file_rows.predict_file_rows(session, path)


@command(":q", ":quit", ":exit")
def leave(_session: ReplSession, _argument: str) -> LineResult:
    """Leave (also Ctrl-D)."""
    return LineResult(leave=True)
