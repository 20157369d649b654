"""What an engine is asked to start, and what it gives back: the two values and the protocols around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from tfsctl.core.serving_config import ServingConfig

EngineName = Literal["docker", "binary", "embedded"]
DEFAULT_IMAGE = "tensorflow/serving:2.20.0"
LAST_LINES = 20  # how much of its log is shown when a server ends early


@dataclass(frozen=True, slots=True)
class Launch:
    """One model server to start: its name, what it serves, and the address to listen on. `image` is Docker's."""

    name: str
    config: ServingConfig
    host: str
    image: str = DEFAULT_IMAGE


class Started(Protocol):
    """A server this process started."""

    @property
    def pid(self) -> int | None:
        """Its process; None for a container."""

    @property
    def container(self) -> str | None:
        """The id of its container; None for a process."""

    @property
    def log_path(self) -> str | None:
        """Where its log goes; None for our stderr, or Docker."""

    @property
    def rest_port(self) -> int:
        """The port its REST API was given."""

    @property
    def grpc_port(self) -> int:
        """The port gRPC was given."""

    def ended(self) -> int | None:
        """Its exit status, or None while it runs."""

    def last_lines(self) -> Sequence[str]:
        """The end of its log, unless that went to our stderr as it was written."""

    def stop(self) -> None:
        """End it and leave nothing of it behind. Returns when it is gone."""

    def leave_running(self) -> None:
        """Let it outlive this process."""


class Engine(Protocol):
    """A way to start a model server; each module of this package named after one is one."""

    def check(self) -> str:
        """Say what it would use, e.g. a daemon's version. Raises the error that says why it cannot be used."""

    def command(self, launch: Launch) -> list[str]:
        """The command line `start` runs; works when pasted into a shell."""

    def start(self, launch: Launch, *, detach: bool) -> Started:
        """Start the server and return without waiting for it. Unless it is detached its log goes to our stderr."""
