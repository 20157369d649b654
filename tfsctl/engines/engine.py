"""The interface of an engine, and of a server that an engine has started."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tfsctl.engines.launch_spec import LaunchSpec
    from tfsctl.engines.model_on_disk import ModelOnDisk

LOG_TAIL_LINES = 200  # how many lines of a server's log are searched for the reason of its end


class ServerProcess(Protocol):
    """A server that this process started: a child process or a container."""

    @property
    def pid(self) -> int | None:
        """Its process id; None for a container."""

    @property
    def container(self) -> str | None:
        """Its container id; None for a process."""

    @property
    def log_path(self) -> str | None:
        """The file of its log; None for a container, whose log Docker keeps."""

    @property
    def bind_address(self) -> str:
        """The address that it listens on."""

    @property
    def rest_port(self) -> int:
        """The port of its REST API."""

    @property
    def grpc_port(self) -> int:
        """The port of its gRPC API."""

    def exit_status(self) -> int | None:
        """Its exit status (negative: the signal that ended it), or None while it runs."""

    def exit_reason(self) -> str:
        """Why it ended, if that is known without its log; otherwise an empty string."""

    def log_tail(self) -> Sequence[str]:
        """The last lines of its log."""

    def follow(self, show: Callable[[str], None]) -> None:
        """Pass each line of its log to `show`, from the first line on, until `stop`."""

    def stop(self) -> None:
        """Stop the server and remove its files and container. Returns when it has ended and its log was printed."""

    def detach(self) -> None:
        """Let it outlive this process."""


class Engine(Protocol):
    """A way to start a model server. The modules listed in `planning/engine_choice.py` implement it."""

    def check(self) -> str:
        """Describe what would be used, such as the daemon's version. Raises TfsctlError if it cannot be used."""

    def adapt(self, spec: LaunchSpec, models: Sequence[ModelOnDisk]) -> tuple[LaunchSpec, list[str]]:
        """Fill in what depends on this machine, and return notes for the user. Raises nothing."""

    def prepare(self, spec: LaunchSpec, models: Sequence[ModelOnDisk]) -> None:
        """Check everything that `start` needs and fetch what is missing. Raises TfsctlError."""

    def command(self, spec: LaunchSpec) -> list[str]:
        """The command line that `start` runs, ready to be pasted into a shell."""

    def start(self, spec: LaunchSpec, *, detach: bool) -> ServerProcess:
        """Start the server and return without waiting until it is ready."""
