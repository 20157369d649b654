"""The binary engine: `tensorflow_model_server` as it is found on PATH."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from tfsctl.engines.planning.launch_spec import Launch
from tfsctl.engines.planning.preflight import Found
from tfsctl.engines.process.process_server import ProcessServer, flags, notes, settled
from tfsctl.errors import EngineError

PROGRAM = "tensorflow_model_server"


def check() -> str:
    """Where the program is. Raises EngineError when it is not on PATH."""
    found = shutil.which(PROGRAM)
    if found is None:
        raise EngineError(f"no {PROGRAM} on PATH", hint="install TensorFlow Serving, or use --engine embedded")
    return found


def fit(launch: Launch, founds: Sequence[Found]) -> tuple[Launch, list[str]]:  # noqa: ARG001 - as every engine
    """The launch as it is: the program has no flag for an address."""
    return launch, [f"{PROGRAM} listens on every address of this machine", *notes(launch)]


def prepare(launch: Launch, founds: Sequence[Found]) -> None:  # noqa: ARG001 - as every engine
    """Raise EngineError when the program is not on PATH."""
    check()


def command(launch: Launch) -> list[str]:
    """The program's command line."""
    return [PROGRAM, *flags(settled(launch))]


def start(launch: Launch, *, detach: bool) -> ProcessServer:  # noqa: ARG001 - it cannot be told to end with us
    """Start it."""
    launch = settled(launch)
    return ProcessServer(command(launch), launch, engine="binary")
