"""`option_group`: give a command a group of options, passed to it as one value."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def option_group(parameter: str, build: Callable[..., Any]) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Return a decorator that adds the options of `build` to a command, or to the `build` of another group.

    The command declares one parameter of the name `parameter`. Typer sees the parameters of `build` instead of it,
    after the other options of the command, and the command receives what `build` returns for their values.
    """
    group = list(inspect.signature(build, eval_str=True).parameters.values())

    def decorate(command: Callable[..., T]) -> Callable[..., T]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != parameter]

        @functools.wraps(command)
        def run(**values: object) -> T:
            group_values = {option.name: values.pop(option.name) for option in group}
            return command(**{parameter: build(**group_values)}, **values)

        parameters = sorted([*own, *group], key=lambda p: p.kind)  # arguments before options
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # Typer reads it
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate
