"""Waits for a server that starts, and for one that ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tfsctl.engines.planning.readiness import Interrupted
from tfsctl.engines.planning.server_handle import ServerHandle
from tfsctl.errors import NotReadyInTime
from tfsctl.programs.log_followers import ShowLine
from tfsctl.rollout.front.front_files import ContainerRef, ProcessRef

_POLL_S = 0.05
_DRAIN_S = 35.0  # how long the connections of the old server may take to close


@dataclass(frozen=True, slots=True)
class WaitOptions:
    """How a command waits for a change.

    - `wait_timeout_s`: how long the models may load
    - `give_up`: whether the user wants to stop
    - `show_step`: receives each step
    """

    wait_timeout_s: float
    give_up: Callable[[], bool] = lambda: False
    show_step: ShowLine = lambda _step: None


def wait_for(server: ServerHandle, options: WaitOptions, condition: Callable[[], bool]) -> None:
    """Wait until a server that was started meets a condition."""
    deadline = time.monotonic() + options.wait_timeout_s
    while not condition():
        if options.give_up():
            raise Interrupted
        status = server.exit_status()
        if status is not None:
            raise server.exit_error(status, " before it was ready")
        if time.monotonic() > deadline:
            raise NotReadyInTime(
                f"{server.record.name} is not ready in time; {server.log_excerpt()}",
                hint="increase --wait-timeout SECONDS",
            )
        time.sleep(_POLL_S)


def wait_for_end(process: ProcessRef | ContainerRef, options: WaitOptions) -> None:
    """Wait until a process that hands its ports over has ended, for at most _DRAIN_S: after that, it ends on its own.

    Returns at once for a container, which was stopped before.
    """
    deadline = time.monotonic() + _DRAIN_S
    while isinstance(process, ProcessRef) and process.runs and not options.give_up():
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL_S)
