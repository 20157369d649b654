"""`start_in_background`: start a server that outlives the command, with progress output and Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tfsctl.cli.output import terminal

if TYPE_CHECKING:
    from tfsctl.engines.planning.server_handle import ServerHandle


def start_in_background(start: Callable[[Callable[[], bool], Callable[[str], None]], ServerHandle]) -> ServerHandle:
    """Start a server and leave it running.

    `start` receives two functions: one tells whether to give up, which is after a signal; one reports the current step.

    Raises what `start` raises, and KeyboardInterrupt if it gave up.
    """
    from tfsctl.engines.planning.readiness import Interrupted
    from tfsctl.programs.signals import StopSignals

    with StopSignals() as signals:
        try:
            with terminal.progress(quiet=not terminal.can_redraw()) as show:
                server = start(lambda: bool(signals.received), show)
        except Interrupted:
            raise KeyboardInterrupt from None
        server.detach()
    return server
