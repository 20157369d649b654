"""`tfsctl repl`: the loop that reads lines, from a terminal or a pipe, and shows what a Session replies."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from tfsctl.cli import _options, _output
from tfsctl.cli._connection import asks_a_server
from tfsctl.cli._target import Asked
from tfsctl.errors import ExitCode

if TYPE_CHECKING:
    from tfsctl.cli._repl.reply import Reply
    from tfsctl.cli._repl.session import Session


@asks_a_server
def repl(
    *,
    asked: Asked,
    signature: _options.Signature = None,
    as_json: _options.Json = False,
) -> None:
    """Talk to a model: type an input, read its answer.

    Lines are shaped to the model as `tfsctl predict` does it, and remembered. :help lists the commands, :q leaves.
    With stdin from a pipe there is no prompt: an answer a line on stdout; the exit code tells the first failure.

    \b
    Examples:
      tfsctl repl
      tfsctl repl --model amazon_review --grpc
      tfsctl repl < reviews.txt
    """
    from tfsctl.cli._repl.session import Session
    from tfsctl.cli._target import find_target
    from tfsctl.engines import registry

    typed = sys.stdin is not None and sys.stdin.isatty()
    target = find_target(asked, registry.running())
    with Session(target, signature=signature, as_json=as_json, drawn=typed and sys.stdout.isatty()) as session:
        code = _converse(session) if typed else _answer_lines(session)
    raise typer.Exit(code)


def _converse(session: Session) -> ExitCode:
    """Read lines from the terminal until :q or Ctrl-D. Ctrl-C abandons the line, or the request it made."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.shortcuts import CompleteStyle

    from tfsctl.cli._repl.commands import TABLE
    from tfsctl.engines import state

    history = FileHistory(str(state.repl_history()))
    prompt: PromptSession[str] = PromptSession(
        history=history,
        completer=WordCompleter(list(TABLE), sentence=True),
        complete_while_typing=False,
        complete_style=CompleteStyle.READLINE_LIKE,  # a menu would keep eight lines of the screen empty for itself
    )
    _output.say(f"{session.place}. :help lists the commands, :q leaves.")
    while True:
        try:
            reply = session.handle(prompt.prompt(f"{session.served.name}> "))
            _show(reply)
        except KeyboardInterrupt:
            continue
        except EOFError:
            return ExitCode.OK
        if reply.leave:
            return ExitCode.OK


def _answer_lines(session: Session) -> ExitCode:
    """Answer every line of stdin; returns the exit code of the first failure."""
    first = ExitCode.OK
    for number, raw in enumerate(sys.stdin.buffer if sys.stdin else (), start=1):
        reply = session.handle(raw.decode("utf-8", "surrogateescape").rstrip("\r\n"))
        if reply.error is not None:
            reply.error.message = f"line {number}: {reply.error.message}"
            first = first or reply.error.exit_code
        _show(reply)
        if reply.leave:
            break
    return first


def _show(reply: Reply) -> None:
    for line in reply.answer:
        _output.answer(line)
    for line in reply.notes:
        _output.say(line)
    if reply.error is not None:
        _output.report(reply.error)
