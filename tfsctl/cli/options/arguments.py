"""Arguments as people type them: `-1` is a number, not an option; `-`, or none at all, is what stdin holds."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

from tfsctl.errors import InvalidInput

STDIN = "-"

_NEGATIVE_NUMBER = re.compile(r"-(\d|\.\d|inf\b|infinity\b)", re.IGNORECASE)


class NegativeNumbersAreArguments(TyperCommand):
    """A command that takes `-1` where other commands would look for an option called `1`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own context, not public
        """Parse the command line, with a space before negative numbers; the commands strip it (`typed`)."""
        return super().parse_args(ctx, [f" {arg}" if _NEGATIVE_NUMBER.match(arg) else arg for arg in args])


def typed(args: list[str]) -> list[str]:
    """The arguments as they were typed, without the space that kept negative numbers from being options."""
    return [arg[1:] if _NEGATIVE_NUMBER.match(arg, 1) and arg.startswith(" ") else arg for arg in args]


def refuse_beside(option: str, **others: object) -> None:
    """Raise InvalidInput for an option (by its name) that was given a value and has no meaning beside another."""
    for name, value in others.items():
        if value:
            raise InvalidInput(f"--{name} has no meaning beside {option}", hint="leave one of them out")


def read_texts(arguments: list[str] | None, named: Sequence[str] | None = None) -> list[str]:
    """What to ask about: the arguments, else stdin, a row a line or one JSON document; none beside values given by name.

    Raises InvalidInput when nothing was typed.
    """
    if arguments and arguments != [STDIN]:
        return typed(arguments)
    if not arguments and named:
        return []
    content = read_stdin(arguments).decode("utf-8-sig", "surrogateescape")
    if is_document(content):
        return [content]
    return [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")] if content else []


def read_body(arguments: list[str] | None) -> bytes:
    """The one body that was typed, else all of stdin. Raises InvalidInput."""
    if not arguments or arguments == [STDIN]:
        return read_stdin(arguments)
    if len(arguments) > 1:
        raise InvalidInput(f"--raw takes one body, and {len(arguments)} were typed", hint="put it in quotes: '…'")
    return typed(arguments)[0].encode("utf-8", "surrogateescape")


def read_stdin(arguments: list[str] | None) -> bytes:
    """All of stdin. Raises InvalidInput when that is a terminal and was not asked for."""
    if not arguments and (sys.stdin is None or sys.stdin.isatty()):
        raise InvalidInput("nothing to predict on", hint='tfsctl predict "some text"; tfsctl metadata tells what fits')
    return sys.stdin.buffer.read()


def is_document(text: str) -> bool:
    """Whether a text is one JSON object or list."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    import json

    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
