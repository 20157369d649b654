"""Commands whose help groups the options under headings, and shows defaults and variables behind each text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.core import TyperArgument, TyperCommand, TyperOption

from tfsctl.cli.usage.headings import heading, order

if TYPE_CHECKING:
    from tfsctl.cli.usage.click_types import Context, HelpFormatter, Parameter


class GroupedCommand(TyperCommand):
    """A command whose help has a heading for each group of options."""

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        """The parts of the usage line: a required argument stands without the braces that Typer puts around it."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the arguments, and the options by heading."""
        command = ctx.command_path.partition(" ")[2]
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = help_record(parameter, ctx)
            if record is None:
                continue
            is_argument = parameter.param_type_name == "argument"
            title = "Arguments" if is_argument else heading(command, [*parameter.opts, *parameter.secondary_opts])
            groups.setdefault(title, []).append(record)
        for title in sorted(groups, key=lambda title: -1 if title == "Arguments" else order(title)):
            with formatter.section(title):
                formatter.write_dl(groups[title], col_max=26)


def help_record(parameter: Parameter, ctx: Context) -> tuple[str, str] | None:
    """The two columns of a parameter: its names, and its text with `(default: …)` and `[env: …]`; None if it is hidden."""
    record = parameter.get_help_record(ctx)
    if record is None:
        return None
    names, text = record
    help_text = (getattr(parameter, "help", None) or "").strip()
    if isinstance(parameter, TyperArgument):
        return names, _argument_text(text)
    if not isinstance(parameter, TyperOption) or not text.startswith(help_text):
        return names, text
    default, choices = _default(parameter, ctx), ""
    if default and "(default:" not in help_text:
        choices = f" (default: {default})"
    shown = f"{help_text.removesuffix('.') if choices else help_text}{choices}{'.' if choices else ''}"
    variable = parameter.envvar if parameter.show_envvar else None
    return names, f"{shown} [env: {variable}]" if variable else shown


def _argument_text(text: str) -> str:
    """The text that Typer writes for an argument, with its default in the form `(default: …)`, and only once."""
    shown, bracket, default = text.removesuffix("[required]").rstrip().partition("  [default: ")
    if not bracket or "(default:" in shown:
        return shown
    return f"{shown.removesuffix('.')} (default: {default.removesuffix(']')})."


def _default(option: TyperOption, ctx: Context) -> str:
    """The default as text; empty if the help should not show it."""
    if isinstance(option.show_default, str):
        return option.show_default
    value = option.get_default(ctx, call=False)
    if option.is_bool_flag:
        names = option.opts if value else option.secondary_opts
        return str(names[0]) if option.secondary_opts and value is not None else ""
    if value in (None, "", (), []) or not option.show_default:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
