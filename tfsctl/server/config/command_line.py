"""Parses the command line of `tfsctl-model-server` and prints its usage, like `tensorflow_model_server`.

Rules: tensorflow/core/util/command_line_flags.cc. It accepts `--name=value` (for a boolean also `--name`), calls
anything else an unknown argument, and continues.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from tfsctl.server.config.flags import Flags
from tfsctl.server.status import invalid_argument

_BITS = {"int32": 32, "int64": 64}


@dataclass(frozen=True, slots=True)
class ParsedCommandLine:
    """A parsed command line.

    - `set_flags`: the names of the flags on the command line, also if they are set to their defaults
    - `unknown`: the arguments that are not flags of this server
    - `error`: why the value of a flag is invalid; "" if all values are valid
    """

    flags: Flags
    set_flags: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    error: str = ""
    wants_help: bool = False


def parse(arguments: Sequence[str]) -> ParsedCommandLine:
    """Parse a command line. Errors and unknown arguments are returned, not raised."""
    kinds: dict[str, str] = {f.name: f.metadata["kind"] for f in fields(Flags)}
    values: dict[str, Any] = {}
    unknown: list[str] = []
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        kind = kinds.get(name) if argument.startswith("--") else None
        if argument == "--help":
            return ParsedCommandLine(Flags(), wants_help=True)
        if kind is None or (not equals and kind != "bool"):
            unknown.append(argument)
            continue
        value = _value(kind, text if equals else None)
        if value is None:
            return ParsedCommandLine(
                Flags(), unknown=tuple(unknown), error=f"Couldn't interpret value {text} for flag {name}."
            )
        values[name] = value
    return ParsedCommandLine(Flags(**values), tuple(values), tuple(unknown))


def _value(kind: str, text: str | None) -> object:
    """The value of a flag of this kind from its text; None if the text does not fit.

    A flag without a text (`--name`) is a boolean, and true.
    """
    if text is None:
        return True
    if kind == "bool":
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    if kind == "string":
        return text
    if kind == "float":
        return float(text) if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text, re.ASCII) else None
    limit = 1 << (_BITS[kind] - 1)
    number = int(text) if re.fullmatch("[-+]?[0-9]{1,19}", text) else limit
    return number if -limit <= number < limit else None


def check_choices(flags: Flags) -> None:
    """Raise INVALID_ARGUMENT for a flag of ours whose value is not one of its choices."""
    for name, value, choices in (
        ("batching", flags.batching, ("auto", "on", "off")),
        ("check_new_versions", flags.check_new_versions, ("auto", "always", "never")),
        ("model_reload", flags.model_reload, ("all", "local", "off")),
    ):
        if value not in choices:
            raise invalid_argument(f"--{name} must be {', '.join(choices[:-1])} or {choices[-1]}; got {value}")


def usage() -> str:
    """The usage text, one flag per line as TensorFlow prints it; hidden flags are omitted."""
    lines = ["usage: tensorflow_model_server", "Flags:"]
    lines += [
        f"\t{f'--{f.name}={_shown(f.default)}':<33}\t{f.metadata['kind']}\t{f.metadata['text']}"
        for f in fields(Flags)
        if not f.metadata["hidden"]
    ]
    return "\n".join(lines)


def _shown(default: object) -> str:
    """A default as the usage text shows it."""
    if isinstance(default, str):
        return f'"{default}"'
    return f"{default:f}" if isinstance(default, float) else str(default).lower()
