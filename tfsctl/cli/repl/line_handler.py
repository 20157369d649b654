"""`handle_line`: do what one line of the REPL says, a command or inputs for the model."""

from __future__ import annotations

from dataclasses import replace

from tfsctl.cli.repl import commands
from tfsctl.cli.repl.line_result import LineResult
from tfsctl.cli.repl.repl_hints import repl_hint
from tfsctl.cli.repl.repl_session import ReplSession
from tfsctl.cli.repl.triple_quotes import unquote
from tfsctl.errors import ServerUnreachable, TfsctlError


def handle_line(session: ReplSession, line: str) -> LineResult:
    """Run a command, or query the model. An expected failure is returned in the result, not raised.

    If the server cannot be reached, the session reconnects and the line is tried once more.
    """
    if not line.strip():
        return LineResult()
    try:
        try:
            return _run(session, line)
        except ServerUnreachable:
            place_before = session.place
            session.reconnect()
        result = _run(session, line)
    except TfsctlError as error:
        error.hint = repl_hint(error.hint)
        return LineResult(error=error)
    return result if session.place == place_before else replace(result, notes=(f"now {session.place}", *result.notes))


def _run(session: ReplSession, line: str) -> LineResult:
    if unquote(line) is not None:
        return session.query(line)
    command, text = commands.find_command(line)
    return command.run(session, text) if command else session.query(text)
