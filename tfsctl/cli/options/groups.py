"""Options that belong together, given to a command as one value."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

Command = Callable[..., None]


def option_group(name: str, build: Callable[..., Any]) -> Callable[[Command], Command]:
    """A decorator that gives a command the options of `build` in the place of its parameter `name`, which gets its value."""
    ours = list(inspect.signature(build, eval_str=True).parameters.values())

    def decorate(command: Command) -> Command:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != name]

        @functools.wraps(command)
        def run(**given: Any) -> None:  # noqa: ANN401 - the values of any option
            said = {option.name: given.pop(option.name) for option in ours}
            command(**{name: build(**said)}, **given)

        parameters = sorted([*own, *ours], key=lambda parameter: parameter.kind)  # arguments before options
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # where Typer looks
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate
