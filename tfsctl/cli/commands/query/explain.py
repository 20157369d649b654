"""`tfsctl explain`: explain the known errors in a pasted message or a log."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from tfsctl.cli.options.input_arguments import STDIN
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.output import terminal
from tfsctl.errors import InvalidInput, NotFound


def explain(
    text: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT…", help="The error message (default: read stdin).")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Explain an error or a log of TensorFlow Serving.

    Prints the cause of each known error and a hint how to fix it. TEXT is an error of TensorFlow Serving as a client,
    a browser or a log shows it. A whole log can be piped into stdin. No server is contacted.

    \b
    Examples:
      tfsctl explain "Could not find base path /models/x for servable x"
      docker logs my_model 2>&1 | tfsctl explain
      tfsctl logs amazon_review | tfsctl explain --json
    """
    from tfsctl.diagnosis.explanations import explain_all

    shown = _read_text(text or [])
    if not shown.strip():
        raise InvalidInput("nothing to explain", hint='run tfsctl explain "ERROR", or pipe a log into it')
    explanations = explain_all(shown)
    if as_json:
        terminal.answer_json({"explanations": [asdict(one) for one in explanations]})
        return
    if not explanations:
        raise NotFound(
            "the text contains no error that tfsctl knows",
            hint="tfsctl status shows the state of each version, and tfsctl logs the server's log",
        )
    for number, one in enumerate(explanations):
        if number:
            terminal.answer("")
        terminal.answer(one.words)
        terminal.answer(f"  cause: {one.cause}")
        terminal.answer(f"  hint: {one.hint}")


def _read_text(words: list[str]) -> str:
    """The error to explain: the arguments, or standard input. Raises InvalidInput if there is neither."""
    if words and words != [STDIN]:
        return " ".join(words)
    if sys.stdin is None or (not words and sys.stdin.isatty()):
        raise InvalidInput("nothing to explain", hint='run tfsctl explain "ERROR", or pipe a log into it')
    return sys.stdin.buffer.read().decode("utf-8", "replace")
