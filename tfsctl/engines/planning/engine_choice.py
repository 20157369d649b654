"""The three engines, and the choice between them."""

from __future__ import annotations

from typing import Literal

from tfsctl.engines.docker import engine as docker_engine
from tfsctl.engines.planning.launch_spec import Engine, EngineName
from tfsctl.engines.process import binary, embedded
from tfsctl.errors import TfsctlError

# In the order `auto` tries them.
ENGINES: dict[EngineName, Engine] = {"docker": docker_engine, "binary": binary, "embedded": embedded}


def choose(wanted: EngineName | Literal["auto"]) -> tuple[EngineName, str]:
    """The engine to use, and for `auto` why, in words: it is the first that can be used.

    Raises the error that says why the last of all cannot be used; one that was asked for is not looked at.
    """
    if wanted != "auto":
        return wanted, ""
    passed_over: list[str] = []
    *preferred, last = ENGINES
    for name in preferred:
        try:
            return name, "; ".join([ENGINES[name].check(), *passed_over])
        except TfsctlError as error:
            passed_over.append(error.message)
    return last, "; ".join([ENGINES[last].check(), *passed_over])
