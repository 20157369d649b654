"""Starting a server that goes on after the command: the wait on a terminal, and what a signal does meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tfsctl.cli.output import terminal

if TYPE_CHECKING:
    from tfsctl.engines.planning.server_handle import Server


def in_background(start: Callable[[Callable[[], bool], Callable[[str], None]], Server]) -> Server:
    """What `start` returns, left running.

    `start` is given what says whether to give up, which is once a signal came, and what shows the step it is at.

    Raises what `start` raises, and KeyboardInterrupt where it gave up.
    """
    from tfsctl.engines.planning.readiness import Interrupted
    from tfsctl.programs.signals import StopSignals

    with StopSignals() as signals:
        try:
            with terminal.progress(quiet=not terminal.on_terminal()) as show:
                server = start(lambda: bool(signals.came), show)
        except Interrupted:
            raise KeyboardInterrupt from None
        server.leave_running()
    return server
