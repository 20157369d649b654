"""`tfsctl repl`: the loop that reads lines, from a terminal or a pipe, and shows what a Session replies."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from tfsctl.cli.options import shared as shared_options
from tfsctl.cli.options.connection import asks_a_server
from tfsctl.cli.options.target import Asked
from tfsctl.cli.output import terminal
from tfsctl.errors import EngineError, ExitCode

if TYPE_CHECKING:
    from prompt_toolkit.history import History

    from tfsctl.cli.options.target import Target
    from tfsctl.cli.repl.reply import Reply
    from tfsctl.cli.repl.session import Session


@asks_a_server
def repl(
    *,
    asked: Asked,
    signature: shared_options.Signature = None,
    as_json: shared_options.Json = False,
) -> None:
    """Talk to a model: type an input, read its answer.

    Lines are shaped to the model as `tfsctl predict` does it, and remembered. :help lists the commands, Tab completes,
    :q leaves. With stdin from a pipe there is no prompt: an answer a line on stdout; the exit code tells the first
    failure.

    \b
    Examples:
      tfsctl repl
      tfsctl repl --model amazon_review --grpc
      tfsctl repl < conversation.txt
    """
    raise typer.Exit(converse(asked, signature=signature, as_json=as_json))


def converse(asked: Asked, *, signature: str | None, as_json: bool) -> ExitCode:
    """Hold a conversation on stdin and stdout; returns the exit code. Raises what finding and opening the model do."""
    from tfsctl.cli.options.target import find_target
    from tfsctl.cli.repl.session import Session
    from tfsctl.engines.registry import records

    def find(model: str | None) -> Target:
        return find_target(replace(asked, model=model), records.running())

    typed = sys.stdin is not None and sys.stdin.isatty()
    drawn = typed and sys.stdout.isatty()
    target = find(asked.model)
    with Session(
        target, signature=signature, as_json=as_json, drawn=drawn, find=find, known=lambda: _known(session.target)
    ) as session:
        return _answer_typed(session) if typed else _answer_lines(session)


def _known(target: Target) -> Mapping[str, Sequence[str]]:
    """The models, with their version labels, of the server tfsctl started there; nothing for another's."""
    from tfsctl.cli.inference.served_models import models_of
    from tfsctl.engines.registry import records

    for server in records.running():
        if (server.rest_port, server.grpc_port) == (target.rest_port, target.grpc_port):
            return {model.name: tuple(model.labels) for model in models_of(server)}
    return {}


def _answer_typed(session: Session) -> ExitCode:
    """Read lines from the terminal until :q or Ctrl-D. Ctrl-C abandons the line, or the request it made."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.application import get_app
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.shortcuts import CompleteStyle

    from tfsctl.cli.repl.completion import completer
    from tfsctl.cli.repl.reading import is_open, pasted

    prompt: PromptSession[str] = PromptSession(
        history=_history(),
        completer=completer(session),
        complete_while_typing=False,
        complete_style=CompleteStyle.READLINE_LIKE,  # a menu would keep eight lines of the screen empty for itself
        multiline=Condition(lambda: is_open(get_app().current_buffer.text)),  # then Enter begins another line
        prompt_continuation="... ",
    )
    terminal.say(f"{session.place}. :help lists the commands, :q leaves.")
    while True:
        try:
            for line in pasted(prompt.prompt(f"{session.served.name}> ")):
                reply = session.handle(line)
                _show(reply)
                if reply.leave:
                    return ExitCode.OK
        except KeyboardInterrupt:
            continue
        except EOFError:
            return ExitCode.OK


def _history() -> History:
    """What was typed before, and will be; only what is typed now where nothing can be kept."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    from tfsctl.engines.registry import state_dir

    try:
        file = state_dir.repl_history()
        file.open("ab").close()
    except (EngineError, OSError) as error:
        terminal.say(f"note: what is typed here is not kept: {error}")
        return InMemoryHistory()
    return FileHistory(str(file))


def _answer_lines(session: Session) -> ExitCode:
    """Answer every line of stdin; returns the exit code of the first failure."""
    from tfsctl.cli.repl.reading import gather

    first = ExitCode.OK
    lines = (raw.decode("utf-8", "surrogateescape").rstrip("\r\n") for raw in (sys.stdin.buffer if sys.stdin else ()))
    for number, line in gather(lines):
        reply = session.handle(line)
        if reply.error is not None:
            reply.error.message = f"line {number}: {reply.error.message}"
            first = first or reply.error.exit_code
        _show(reply)
        if reply.leave:
            break
    return first


def _show(reply: Reply) -> None:
    for line in reply.answer:
        terminal.answer(line)
    for line in reply.notes:
        terminal.say(line)
    if reply.error is not None:
        terminal.report(reply.error)
