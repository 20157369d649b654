"""A server that tfsctl started, with its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfsctl.engines.server_record import ServerRecord

if TYPE_CHECKING:  # client commands read records, and most servers are processes
    from tfsctl.engines.docker.inspection import ContainerFacts
    from tfsctl.programs.exit_records import ExitRecord

RUNNING = "running"
UNKNOWN = "unknown"  # a container, and the Docker daemon does not answer
ENDED = "ended"  # a process that has ended
GONE = "removed"  # a container that was removed without tfsctl


@dataclass(frozen=True, slots=True)
class TrackedServer:
    """A server that tfsctl started.

    - `state`: RUNNING, UNKNOWN, ENDED, GONE, or Docker's word for the state of its container
    - `launch`: the JSON of its LaunchSpec, for `LaunchSpec.from_document`; None if that is not known
    - `exit`: how it ended; None if it runs, or if that is not known
    - `facts`: what Docker knows of its container; None for a process
    """

    record: ServerRecord
    state: str = RUNNING
    launch: Mapping[str, Any] | None = None
    exit: ExitRecord | None = None
    facts: ContainerFacts | None = None

    @property
    def is_front(self) -> bool:
        """Whether it was started with a front."""
        return self.launch is not None and bool(self.launch.get("front"))

    @property
    def is_left_over(self) -> bool:
        """Whether only its record is left: its process has ended, or its container was removed."""
        return self.state in (ENDED, GONE)
