"""A wrong command line as an error of tfsctl: what is wrong, and what to type instead."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from tfsctl.errors import InvalidInput

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
        names = {name.lstrip("-"): name for name in error.possibilities or ()}
        known = names or _options(context)
        close = difflib.get_close_matches(str(option).lstrip("-"), known, n=1, cutoff=0.6)
        hint = f"did you mean {known[close[0]]}?" if close else help_hint
        return InvalidInput(f"unknown option {option}", hint=hint)
    children = getattr(getattr(context, "command", None), "commands", {})
    if children and message.startswith("Usage:"):  # the help of a group, without an error
        return InvalidInput(f"{path} needs one of its commands: {', '.join(children)}", hint=help_hint)
    first = message.splitlines()[0] if message else "the command line is wrong"
    return InvalidInput(first[:1].lower() + first[1:].removesuffix("."), hint=help_hint)


def _options(context: object) -> dict[str, str]:
    command = getattr(context, "command", None)
    parameters = command.get_params(context) if command is not None else []
    return {name.lstrip("-"): name for one in parameters for name in (*one.opts, *one.secondary_opts)}
