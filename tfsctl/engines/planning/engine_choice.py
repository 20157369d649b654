"""The three engines, and the choice between them."""

from __future__ import annotations

from typing import Literal

from tfsctl.engines.docker import engine as docker_engine
from tfsctl.engines.engine import Engine
from tfsctl.engines.launch_spec import EngineName
from tfsctl.engines.process import binary, embedded
from tfsctl.errors import TfsctlError

# In the order in which "auto" tries them.
ENGINES: dict[EngineName, Engine] = {"docker": docker_engine, "binary": binary, "embedded": embedded}


def choose(wanted: EngineName | Literal["auto"]) -> tuple[EngineName, str]:
    """The engine to use, and the reason if it was chosen automatically.

    "auto" is the first engine that can be used. Raises the error of the last engine if none can. An engine that the
    user named is returned without a check.
    """
    if wanted != "auto":
        return wanted, ""
    skipped: list[str] = []
    *preferred, last = ENGINES
    for name in preferred:
        try:
            return name, "; ".join([ENGINES[name].check(), *skipped])
        except TfsctlError as error:
            skipped.append(error.message.partition(": ")[0])
    return last, "; ".join([ENGINES[last].check(), *skipped])
