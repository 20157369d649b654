"""The likely reason for the end of a server, from the signal that ended it."""

from __future__ import annotations

import signal

REASONS = {
    signal.SIGILL: "it was built for another processor (illegal instruction)",
    signal.SIGKILL: "it was killed, probably because memory ran out",
    signal.SIGSEGV: "it crashed (segmentation fault)",
}


def describe_status(status: int) -> str:
    """`SIGKILL` for a signal (a negative status), otherwise `status N`."""
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
