"""The embedded engine: our own model server, run with this Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tfsctl.core import protos
from tfsctl.engines.planning.launch_spec import Launch
from tfsctl.engines.planning.preflight import Found
from tfsctl.engines.process.process_server import ProcessServer, flags, notes, settled


def check() -> str:
    """Raise TfsctlError where TensorFlow is not installed."""
    protos.tensorflow_directory()
    return "tfsctl's own server"


def fit(launch: Launch, founds: Sequence[Found]) -> tuple[Launch, list[str]]:  # noqa: ARG001 - as every engine
    """The launch as it is."""
    return launch, notes(launch)


def prepare(launch: Launch, founds: Sequence[Found]) -> None:  # noqa: ARG001 - as every engine
    """Raise TfsctlError where TensorFlow is not installed."""
    check()


def command(launch: Launch) -> list[str]:
    """The embedded server's command line."""
    launch = settled(launch)
    return [sys.executable, "-m", "tfsctl.server", f"--host={launch.host}", *flags(launch)]


def start(launch: Launch, *, detach: bool) -> ProcessServer:
    """Start it. Unless it is detached it ends when this process does, however that ends."""
    launch = settled(launch)
    # The server asks the kernel to be told when that process is gone: kill -9 of tfsctl leaves nothing.
    environment = {} if detach else {"TFSCTL_PARENT_PID": str(os.getpid())}
    return ProcessServer(command(launch), launch, engine="embedded", environment=environment)
