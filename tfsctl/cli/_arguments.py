"""Arguments as people type them: `-1` is a number, not an option."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand

_NEGATIVE_NUMBER = re.compile(r"-(\d|\.\d|inf\b|infinity\b)", re.IGNORECASE)


class NegativeNumbersAreArguments(TyperCommand):
    """A command that takes `-1` where other commands would look for an option called `1`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own context, not public
        """Parse the command line, with a space before negative numbers; the commands strip it (`typed`)."""
        return super().parse_args(ctx, [f" {arg}" if _NEGATIVE_NUMBER.match(arg) else arg for arg in args])


def typed(args: list[str]) -> list[str]:
    """The arguments as they were typed, without the space that kept negative numbers from being options."""
    return [arg[1:] if _NEGATIVE_NUMBER.match(arg, 1) and arg.startswith(" ") else arg for arg in args]
