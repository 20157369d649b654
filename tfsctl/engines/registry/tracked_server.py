"""A server that tfsctl started, with its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfsctl.engines.server_record import ServerRecord

RUNNING = "running"
UNKNOWN = "unknown"  # a container, and the Docker daemon does not answer
GONE = "gone"  # the process has ended, or the container was removed


@dataclass(frozen=True, slots=True)
class TrackedServer:
    """A server that tfsctl started.

    - `state`: RUNNING, UNKNOWN, GONE, or Docker's word for the state of its container
    - `launch`: the JSON of its LaunchSpec, for `LaunchSpec.from_document`; None if that is not known
    """

    record: ServerRecord
    state: str = RUNNING
    launch: Mapping[str, Any] | None = None
