"""Parses the command line of `tfsctl-model-server` as TensorFlow does, and prints its usage.

Source: tensorflow/core/util/command_line_flags.cc. It accepts `--name=value` (for a boolean also `--name`), reports
anything else as an unknown argument, and continues.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from tfsctl.server.config.flags import Flags

_BITS = {"int32": 32, "int64": 64}


@dataclass(frozen=True, slots=True)
class Parsed:
    """A parsed command line: the flags, what was not understood, and a value that was no value (an error).

    `given` are the names of the flags that were set, to whatever value.
    """

    flags: Flags
    given: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    error: str = ""
    wants_help: bool = False


def parse(arguments: Sequence[str]) -> Parsed:
    """Read a command line; nothing is raised, the caller decides."""
    kinds: dict[str, str] = {f.name: f.metadata["kind"] for f in fields(Flags)}
    values: dict[str, Any] = {}
    unknown: list[str] = []
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        kind = kinds.get(name) if argument.startswith("--") else None
        if argument == "--help":
            return Parsed(Flags(), wants_help=True)
        if kind is None or (not equals and kind != "bool"):
            unknown.append(argument)
            continue
        value = _value(kind, text, given=bool(equals))
        if value is None:
            return Parsed(Flags(), unknown=tuple(unknown), error=f"Couldn't interpret value {text} for flag {name}.")
        values[name] = value
    return Parsed(Flags(**values), tuple(values), tuple(unknown))


def _value(kind: str, text: str, *, given: bool) -> object:
    """What a flag of that kind is set to by this text; None if it cannot be."""
    if kind == "bool":
        return True if not given else {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    if kind == "string":
        return text
    if kind == "float":
        return float(text) if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text, re.ASCII) else None
    limit = 1 << (_BITS[kind] - 1)
    number = int(text) if re.fullmatch("[-+]?[0-9]{1,19}", text) else limit
    return number if -limit <= number < limit else None


def usage() -> str:
    """The usage text, one flag per line as TensorFlow prints it; hidden flags are left out."""
    lines = ["usage: tensorflow_model_server", "Flags:"]
    lines += [
        f"\t{f'--{f.name}={_shown(f.default)}':<33}\t{f.metadata['kind']}\t{f.metadata['text']}"
        for f in fields(Flags)
        if not f.metadata["hidden"]
    ]
    return "\n".join(lines)


def _shown(default: object) -> str:
    """A default as the usage text has it."""
    if isinstance(default, str):
        return f'"{default}"'
    return f"{default:f}" if isinstance(default, float) else str(default).lower()
