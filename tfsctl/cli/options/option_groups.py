"""`option_group`: give a command a group of options, passed to it as one value."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

Command = Callable[..., None]


def option_group(parameter: str, build: Callable[..., Any]) -> Callable[[Command], Command]:
    """Return a decorator that adds the options of `build` to a command.

    The command declares one parameter of the name `parameter`. Typer sees the parameters of `build` in its place, and
    the command receives what `build` returns for their values.
    """
    group = list(inspect.signature(build, eval_str=True).parameters.values())

    def decorate(command: Command) -> Command:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != parameter]

        @functools.wraps(command)
        def run(**values: Any) -> None:  # noqa: ANN401 - the values of any option
            group_values = {option.name: values.pop(option.name) for option in group}
            command(**{parameter: build(**group_values)}, **values)

        parameters = sorted([*own, *group], key=lambda p: p.kind)  # arguments before options
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # Typer reads it
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate
