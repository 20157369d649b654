"""Decorators that give a command a group of options.

- `option_group`: the command receives the options as one value.
- `intercepting_options`: if one of the options is given, another function runs in the place of the command.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def option_group(
    parameter: str, build: Callable[..., Any], *, unset: object = None
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Return a decorator that adds the options of `build` to a command, or to the `build` of another group.

    The command declares one parameter of the name `parameter`. Typer sees the parameters of `build` instead of it,
    after the other options of the command, and the command receives what `build` returns for their values. If `unset`
    is not None, the command receives it when none of the options is given.
    """
    group = _parameters(build)
    defaults = {option.name: option.default for option in group}

    def decorate(command: Callable[..., T]) -> Callable[..., T]:
        def run(**values: object) -> T:
            group_values = {name: values.pop(name) for name in defaults}
            is_unset = unset is not None and group_values == defaults
            return command(**{parameter: unset if is_unset else build(**group_values)}, **values)

        return _as_command(run, command, [*(p for p in _parameters(command) if p.name != parameter), *group])

    return decorate


def intercepting_options(intercept: Callable[..., T]) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Return a decorator that adds the options of `intercept`, its keyword-only parameters, to a command.

    If none of them is given, the command runs as if it had no such options. Otherwise `intercept` is called in its
    place, with the command, the values of the command's parameters, and those of its own options.
    """
    group = [option for option in _parameters(intercept) if option.kind is option.KEYWORD_ONLY]
    defaults = {option.name: option.default for option in group}

    def decorate(command: Callable[..., T]) -> Callable[..., T]:
        def run(**values: object) -> T:
            group_values = {name: values.pop(name) for name in defaults}
            return command(**values) if group_values == defaults else intercept(command, values, **group_values)

        return _as_command(run, command, [*_parameters(command), *group])

    return decorate


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function, eval_str=True).parameters.values())


def _as_command(
    run: Callable[..., T], command: Callable[..., T], parameters: Sequence[inspect.Parameter]
) -> Callable[..., T]:
    """Return `run` with the name and the help of a command, and with the parameters that Typer shall see."""
    functools.update_wrapper(run, command)
    ordered = sorted(parameters, key=lambda p: p.kind)  # arguments before options
    run.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined] # Typer reads it
    run.__annotations__ = {p.name: p.annotation for p in ordered}
    return run
