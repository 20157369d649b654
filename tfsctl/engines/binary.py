"""The binary engine: `tensorflow_model_server` as it is found on PATH."""

from __future__ import annotations

import shutil

from tfsctl.engines._process_server import ProcessServer, flags, settled
from tfsctl.engines.launch import Launch
from tfsctl.errors import EngineError

PROGRAM = "tensorflow_model_server"


def check() -> str:
    """Where the program is. Raises EngineError when it is not on PATH."""
    found = shutil.which(PROGRAM)
    if found is None:
        raise EngineError(f"no {PROGRAM} on PATH", hint="install TensorFlow Serving, or use --engine embedded")
    return found


def command(launch: Launch) -> list[str]:
    """The program's command line. It has no flag for an address: it listens on all of them."""
    return [PROGRAM, *flags(settled(launch))]


def start(launch: Launch, *, detach: bool) -> ProcessServer:
    """Start it."""
    launch = settled(launch)
    return ProcessServer(command(launch), launch, engine="binary", detach=detach)
