"""`converse`: run the REPL on stdin and stdout, for `tfsctl repl` and `tfsctl run`.

The only module of the REPL that reads and prints. `line_handler.py` turns one line into a result.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from tfsctl.cli.inference.served_models import models_at
from tfsctl.cli.options.server_options import ServerOptions
from tfsctl.cli.options.target import Target, find_target
from tfsctl.cli.output import terminal
from tfsctl.cli.repl import commands
from tfsctl.cli.repl.line_handler import handle_line
from tfsctl.cli.repl.line_result import LineResult
from tfsctl.cli.repl.repl_session import ReplSession
from tfsctl.cli.repl.triple_quotes import is_open, join_quoted_lines, split_pasted
from tfsctl.engines.registry import records
from tfsctl.errors import EngineError, ExitCode

if TYPE_CHECKING:
    from prompt_toolkit.history import History


def converse(options: ServerOptions, *, signature: str | None, as_json: bool) -> ExitCode:
    """Read lines and print their results until the input ends; returns the exit code.

    Raises what `find_target` and `ReplSession` raise.
    """

    def find(model: str | None, server: str | None) -> Target:
        if server is None:
            return find_target(replace(options, model=model), records.running())
        on_server = ServerOptions(model, server=server, timeout_s=options.timeout_s, transport=options.transport)
        return find_target(on_server, records.running())

    reads_terminal = sys.stdin is not None and sys.stdin.isatty()
    target = find(options.model, None)
    with terminal.waiting("waiting for the server") if reads_terminal else nullcontext():
        session = ReplSession(
            target,
            signature=signature,
            as_json=as_json,
            with_bars=reads_terminal and sys.stdout.isatty(),
            find=find,
            find_labels=lambda: {model.name: tuple(model.labels) for model in models_at(session.target)},
            list_servers=lambda: {server.name: server for server in records.running()},
        )
    with session:
        return _read_terminal(session) if reads_terminal else _read_pipe(session)


def _read_terminal(session: ReplSession) -> ExitCode:
    """Prompt for lines until :q or Ctrl-D. Ctrl-C cancels the line, or the request it made."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.application import get_app
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.shortcuts import CompleteStyle

    from tfsctl.cli.repl.completion import completer

    prompt: PromptSession[str] = PromptSession(
        history=_history(),
        completer=completer(session),
        complete_while_typing=False,
        complete_style=CompleteStyle.READLINE_LIKE,  # the menu of the default style reserves eight empty lines
        multiline=Condition(lambda: is_open(get_app().current_buffer.text)),  # Enter adds a line then
        prompt_continuation="... ",
    )
    terminal.say(f"{session.place}. :help lists the commands, :q quits.")
    while True:
        try:
            text = prompt.prompt(f"{session.served.name}> ")
            if hint := commands.escape_hint_for(text):
                terminal.say(hint)
                continue
            for line in split_pasted(text):
                with terminal.waiting(f"waiting for {session.client.address} (Ctrl-C cancels)"):
                    result = handle_line(session, line)
                _print(result)
                if result.leave:
                    return ExitCode.OK
        except KeyboardInterrupt:
            continue
        except EOFError:
            return ExitCode.OK


def _history() -> History:
    """The history file, or a history in memory if the file cannot be written."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    from tfsctl.engines import state_dir

    try:
        file = state_dir.repl_history()
        file.open("ab").close()
    except (EngineError, OSError) as error:
        terminal.say_note(f"the history cannot be saved: {error}")
        return InMemoryHistory()
    return FileHistory(str(file))


def _read_pipe(session: ReplSession) -> ExitCode:
    """Handle every line of stdin; returns the exit code of the first failure."""
    exit_code = ExitCode.OK
    lines = (raw.decode("utf-8", "surrogateescape").rstrip("\r\n") for raw in (sys.stdin.buffer if sys.stdin else ()))
    for number, line in join_quoted_lines(lines):
        result = handle_line(session, line)
        if result.error is not None:
            result.error.message = f"line {number}: {result.error.message}"
            exit_code = exit_code or result.error.exit_code
        _print(result)
        if result.leave:
            break
    return exit_code


def _print(result: LineResult) -> None:
    for line in result.answer:
        terminal.answer(line)
    for line in result.notes:
        terminal.say(line)
    if result.error is not None:
        terminal.report_error(result.error)
