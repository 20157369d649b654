"""The binary engine: `tensorflow_model_server` from PATH."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from tfsctl.engines import ports
from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.model_on_disk import ModelOnDisk
from tfsctl.engines.process.local_process import LocalProcess, notes, server_flags
from tfsctl.errors import EngineError

PROGRAM = "tensorflow_model_server"


def check() -> str:
    """The path of the program. Raises EngineError if it is not on PATH."""
    found = shutil.which(PROGRAM)
    if found is None:
        raise EngineError(f"{PROGRAM} is not on PATH", hint="install TensorFlow Serving, or use --engine embedded")
    return found


def adapt(spec: LaunchSpec, models: Sequence[ModelOnDisk]) -> tuple[LaunchSpec, list[str]]:  # noqa: ARG001 - Engine
    """The spec unchanged, and a note: the program has no flag for the address to listen on."""
    return spec, [f"{PROGRAM} listens on every address of this machine", *notes(spec)]


def prepare(spec: LaunchSpec, models: Sequence[ModelOnDisk]) -> None:  # noqa: ARG001 - Engine
    """Raise EngineError if the program is not on PATH."""
    check()


def command(spec: LaunchSpec) -> list[str]:
    """The command line of the program."""
    return [PROGRAM, *server_flags(ports.with_free_ports(spec))]


def start(spec: LaunchSpec, *, detach: bool) -> LocalProcess:
    """Start the program."""
    spec = ports.with_free_ports(spec)
    return LocalProcess(command(spec), spec, engine="binary", detach=detach)
