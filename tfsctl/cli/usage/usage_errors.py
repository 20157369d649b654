"""A wrong command line as an error of tfsctl: what is wrong, and what to type instead."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.cli.usage.click_types import Command, Context, Parameter

# Messages of Click.
_UNKNOWN_COMMAND = re.compile(r"No such command '(.*?)'\.")
_EXTRA_ARGUMENTS = re.compile(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", re.DOTALL)
_WRONG_NUMBER = re.compile(r"(.*) is not (?:a valid (?:int|float)|in the range )", re.DOTALL)
_WRONG_BOOLEAN = re.compile(r"(.*) is not a valid boolean", re.DOTALL)
_WRONG_CHOICE = re.compile(r"'(.*)' is not one of ", re.DOTALL)

# What users of docker, ollama, kubectl and git type -> our command.
ALIASES = {
    "list": "ps",
    "ls": "ps",
    "servers": "ps",
    "top": "ps",
    "rm": "stop",
    "remove": "stop",
    "delete": "stop",
    "kill": "stop",
    "down": "stop",
    "up": "serve",
    "start": "serve",
    "deploy": "serve",
    "save": "export",
    "build": "export",
    "convert": "export",
    "infer": "predict",
    "query": "predict",
    "ask": "predict",
    "request": "predict",
    "inspect": "metadata",
    "show": "metadata",
    "describe": "metadata",
    "info": "metadata",
    "signatures": "metadata",
    "chat": "repl",
    "shell": "repl",
    "example": "sample",
    "diff": "compare",
    "check": "lint",
    "validate": "lint",
    "health": "status",
    "ready": "wait",
    "log": "logs",
}

# Options that do not exist -> how to write it.
_OTHER_FORMS = dict.fromkeys(
    [("tfsctl serve", "--version"), ("tfsctl run", "--version"), ("tfsctl compose", "--version")],
    "PATH/VERSION serves one version, and so does --model NAME=PATH,versions=VERSION",
)

# Flags of TensorFlow Serving and names of other clients -> our options, the first that the command has.
_OPTIONS_OF_OTHERS = {
    "model-name": ("model",),
    "model-version": ("version",),
    "model-version-label": ("label",),
    "version-label": ("label",),
    "signature-name": ("signature",),
    "rest-api-port": ("rest-port", "port"),
    "model-config-file": ("config",),
}


def similar_option(option: str, known: Mapping[str, str], *, cutoff: float) -> str | None:
    """The option that was probably meant: the same with `_`, a flag of TensorFlow Serving, a start, or one spelt alike.

    `known` are the options of the command, by their names without dashes.
    """
    name = option.lstrip("-").replace("_", "-").lower()
    for one in (name, *_OPTIONS_OF_OTHERS.get(name, ())):
        if one in known:
            return known[one]
    longer = [one for one in known if one.startswith(f"{name}-")]
    close = longer if len(longer) == 1 else difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return known[close[0]] if close else None


def unknown_command(name: str, commands: Sequence[str]) -> InvalidInput:
    """The error for a command that does not exist."""
    alias = ALIASES.get(name.lower())
    close = difflib.get_close_matches(name.lower(), commands, n=1, cutoff=0.6)
    meant = alias if alias in commands else next(iter(close), None)
    hint = f"did you mean tfsctl {meant}?" if meant else "tfsctl --help lists the commands"
    return InvalidInput(f"there is no command {name!r}", hint=hint)


def usage_error(error: Exception, command: str = "") -> InvalidInput:
    """Click's error about a command line, in our form. `command` is the first argument that was typed."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else f"tfsctl {command}".strip()
    help_hint = f"{path} --help lists the options"
    message = str(getattr(error, "format_message", lambda: str(error))()).strip()
    option = getattr(error, "option_name", None)
    if hasattr(error, "possibilities") and option:
        known = {name.lstrip("-"): name for name in error.possibilities or ()}
        meant = similar_option(str(option), _options(context) if context else known, cutoff=0.6)
        siblings = _siblings_with_option(context, str(option))
        if siblings:  # `tfsctl versions --keep 3` is read as `tfsctl versions ls --keep 3`
            return InvalidInput(f"{path} has no option {option}", hint=f"did you mean {siblings[0]} … {option}?")
        hint = _OTHER_FORMS.get((path, str(option))) or (f"did you mean {meant}?" if meant else help_hint)
        return InvalidInput(f"unknown option {option}", hint=hint)
    children = getattr(getattr(context, "command", None), "commands", {})
    if children and message.startswith("Usage:"):  # the help of a group, without an error
        return InvalidInput(f"{path} needs one of its commands: {', '.join(children)}", hint=help_hint)
    if unknown := _UNKNOWN_COMMAND.match(message):
        close = difflib.get_close_matches(unknown[1], children, n=1, cutoff=0.6)
        hint = f"did you mean {path} {close[0]}?" if close else help_hint
        return InvalidInput(f"{path} has no command {unknown[1]!r}", hint=hint)
    if extra := _EXTRA_ARGUMENTS.match(message):
        hint = (
            f"did you mean --model {shlex.quote(extra[1])}?"
            if _takes_only_options(context) and " " not in extra[1]
            else help_hint
        )
        return InvalidInput(f"unexpected argument: {extra[1]}", hint=hint)
    first = _value_error(error, context) or (message.splitlines()[0] if message else "the command line is wrong")
    return InvalidInput(first[:1].lower() + first[1:].removesuffix("."), hint=_choice_hint(error) or help_hint)


def _value_error(error: Exception, context: Context | None) -> str:
    """What is wrong with the value of an option, and with the variable it came from; empty for other errors."""
    parameter, message = getattr(error, "param", None), str(getattr(error, "message", ""))
    if parameter is None or not message or parameter.param_type_name != "option":
        return ""
    if truth := _WRONG_BOOLEAN.match(message):
        return f"invalid value for {_place(parameter, context)}: {truth[1]} is not 1, 0, true or false"
    number = _WRONG_NUMBER.match(message)
    problem = f"{number[1].removesuffix('.0')} is not {_number_text(parameter.type)}" if number else message
    return f"invalid value for {_place(parameter, context)}: {problem}"


def _place(parameter: Parameter, context: Context | None) -> str:
    """The variable that an option's value came from, or the name of the option."""
    source = None if context is None or parameter.name is None else context.get_parameter_source(parameter.name)
    return str(parameter.envvar if getattr(source, "name", "") == "ENVIRONMENT" else max(parameter.opts, key=len))


def _number_text(number: object) -> str:
    """The values of a number type of Click: `a whole number from 0 to 65535`."""
    kind = "a whole number" if "int" in getattr(number, "name", "") else "a number"
    low, high = getattr(number, "min", None), getattr(number, "max", None)
    if low is not None and high is not None:
        return f"{kind} from {low} to {high}"
    if low is not None:
        return f"{kind} greater than {low}" if getattr(number, "min_open", False) else f"{kind} of at least {low}"
    return kind if high is None else f"{kind} of at most {high}"


def _choice_hint(error: Exception) -> str:
    """A hint with the choice of an option that was probably meant, or an empty string."""
    parameter = getattr(error, "param", None)
    typed = _WRONG_CHOICE.match(str(getattr(error, "message", "")))
    choices = [str(getattr(one, "value", one)) for one in getattr(getattr(parameter, "type", None), "choices", ())]
    close = difflib.get_close_matches(typed[1], choices, n=1) if typed else []
    return f"did you mean {close[0]!r}?" if close else ""


def _siblings_with_option(context: Context | None, option: str) -> list[str]:
    """The commands of the same group that have an option."""
    parent = context.parent if context else None
    if parent is None or parent.parent is None:  # the parent is tfsctl itself
        return []
    commands: dict[str, Command] = getattr(parent.command, "commands", {})
    return [
        f"{parent.command_path} {name}"
        for name, one in commands.items()
        if any(option in parameter.opts for parameter in one.params)
    ]


def _takes_only_options(context: object) -> bool:
    """Whether a command chooses its model with --model and has no arguments."""
    parameters = getattr(getattr(context, "command", None), "params", ())
    return any("--model" in one.opts for one in parameters) and not any(
        one.param_type_name == "argument" for one in parameters
    )


def _options(context: object) -> dict[str, str]:
    command = getattr(context, "command", None)
    parameters = command.get_params(context) if command is not None else []
    return {name.lstrip("-"): name for one in parameters for name in (*one.opts, *one.secondary_opts)}
