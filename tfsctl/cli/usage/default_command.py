"""A group of commands with a default: `tfsctl label NAME stable=1` is `tfsctl label set NAME stable=1`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.core import TyperGroup

if TYPE_CHECKING:
    from tfsctl.cli.usage.click_types import Context


class DefaultCommandGroup(TyperGroup):
    """A Typer group that runs its first command if the arguments do not begin with the name of a command."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Insert the name of the default command, except for --help."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [next(iter(self.commands)), *args]
        return list(super().parse_args(ctx, args))
