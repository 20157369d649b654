"""Why a server ended, as far as the signal that ended it tells."""

from __future__ import annotations

import signal

REASONS = {
    signal.SIGILL: "it was made for another processor: an illegal instruction ended it",
    signal.SIGKILL: "it was killed, as is done when memory runs out",
    signal.SIGSEGV: "it crashed: a segmentation fault ended it",
}


def describe_status(status: int) -> str:
    """`SIGKILL` for a signal (a negative status), otherwise `status N`."""
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
