"""The INPUT arguments of `predict`, `classify` and `regress`, and standard input in their place."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from typer.core import TyperGroup

from tfsctl.cli.usage.help_format import GroupedCommand
from tfsctl.cli.usage.usage_errors import similar_option
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.cli.usage.click_types import Context

STDIN = "-"

_NEGATIVE_NUMBER = re.compile(r"-(\d|\.\d|inf\b|infinity\b)", re.IGNORECASE)


class NegativeNumberCommand(GroupedCommand):
    """A Typer command that accepts negative numbers such as `-1` as arguments, not as options."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse the command line with a space before each negative number; `unescape_arguments` removes it.

        Raises InvalidInput for an unknown option, because it may be text that begins with `-`.
        """
        escaped = [f" {arg}" if _NEGATIVE_NUMBER.match(arg) else arg for arg in args]
        try:
            return super().parse_args(ctx, list(escaped))
        except Exception as error:
            if not hasattr(error, "possibilities"):  # only Click's NoSuchOption, which Typer does not export, has them
                raise
            option = str(getattr(error, "option_name", ""))
            if option in _options_of_predict(ctx) and option not in self._own_options():
                hint = f"{ctx.command_path} --help lists the options"
                raise InvalidInput(f"unknown option {option}", hint=hint) from error
            raise _unknown_option(option, self._own_options(), args) from error

    def _own_options(self) -> set[str]:
        return {name for parameter in self.params for name in (*parameter.opts, *parameter.secondary_opts)}


def _options_of_predict(ctx: Context) -> set[str]:
    """The options of `predict`, which users try with the other commands: they are not text that begins with `-`."""
    root = ctx.find_root().command
    assert isinstance(root, TyperGroup)  # noqa: S101 - tfsctl itself
    predict = root.get_command(ctx, "predict")
    assert predict is not None  # noqa: S101
    return {name for parameter in predict.params for name in (*parameter.opts, *parameter.secondary_opts)}


def _unknown_option(option: str, known: Collection[str], args: Sequence[str]) -> InvalidInput:
    """The error for an option that does not exist: a misspelt option, or text that begins with `-`."""
    typed = next((arg for arg in args if arg.startswith(option)), None)
    if typed is None:  # a letter of a group of short options, as in `-hello`
        typed = next((arg for arg in args if arg[:1] == "-" != arg[1:2] and option[1:] in arg), option)
    meant = similar_option(option, {name.lstrip("-"): name for name in known if name.startswith("--")}, cutoff=0.75)
    hint = f"put -- before text that begins with -: tfsctl … -- {shlex.quote(typed)}"
    if meant and " " not in typed:
        hint = f"did you mean {meant}?"
    where = "" if typed.partition("=")[0] == option else f" (in {typed!r})"
    return InvalidInput(f"unknown option {option}{where}", hint=hint)


def unescape_arguments(args: list[str]) -> list[str]:
    """Return the arguments as the user typed them, without the space that `NegativeNumberCommand` added."""
    return [arg[1:] if _NEGATIVE_NUMBER.match(arg, 1) and arg.startswith(" ") else arg for arg in args]


def refuse_with(option: str, **others: object) -> None:
    """Raise InvalidInput if any of the `others` (option name -> value) was given together with `option`."""
    for name, value in others.items():
        if value:
            raise InvalidInput(f"--{name} cannot be used with {option}", hint="remove one of them")


def is_stdin(arguments: list[str] | None, named: Sequence[str] | None) -> bool:
    """Whether the rows are the lines of standard input: `-` is typed, or nothing at all."""
    return arguments == [STDIN] or not (arguments or named)


def read_lines(arguments: list[str] | None, *, has_encoding_option: bool = False) -> list[str]:
    """Return the lines of standard input, without line breaks.

    Raises InvalidInput if it is a terminal, or is not text in UTF-8 or in the encoding of its byte order mark.
    """
    from tfsctl.inputs.encodings import decode_stdin

    content = decode_stdin(read_stdin(arguments), has_encoding_option=has_encoding_option)
    return [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")] if content else []


def read_request_body(arguments: list[str] | None) -> bytes:
    """Return the request body for --raw: the only argument, otherwise all of standard input. Raises InvalidInput."""
    if not arguments or arguments == [STDIN]:
        return read_stdin(arguments)
    if len(arguments) > 1:
        raise InvalidInput(
            f"--raw takes one request body, not {len(arguments)} arguments", hint="put it in quotes: '…'"
        )
    return unescape_arguments(arguments)[0].encode("utf-8", "surrogateescape")


def read_stdin(arguments: list[str] | None) -> bytes:
    """Read all of standard input. Raises InvalidInput if it is closed, or a terminal and the user did not type `-`."""
    if sys.stdin is None or (not arguments and sys.stdin.isatty()):
        raise InvalidInput("nothing to predict on", hint='tfsctl predict "some text"; tfsctl metadata shows the inputs')
    return sys.stdin.buffer.read()


def is_json_document(text: str) -> bool:
    """Whether a text is one JSON object or list."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    import json

    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
