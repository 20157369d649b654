"""The end of a server: what runs at SIGTERM or SIGINT is answered first, for as long as that may take.

A thread takes the signals: the event loop may be inside a run of TensorFlow that does not end.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

PARENT_VARIABLE = "TFSCTL_PARENT_PID"  # set by a process that wants the server to end with it
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
_LOOK_AGAIN_S = 0.02
_UNLOAD_S = 2.0


class Requests:
    """Counts the requests that are running; `refuse` is set once no more are taken."""

    __slots__ = ("refuse", "running")

    def __init__(self) -> None:
        self.running = 0
        self.refuse = False

    async def drain(self, timeout_s: float) -> None:
        """Refuse what comes from now on, and wait for what is running, so long at most."""
        self.refuse = True
        if not self.running:
            return
        log.info("Waiting for %d running requests, %g s at most", self.running, timeout_s)
        deadline_s = time.monotonic() + timeout_s
        while self.running and time.monotonic() < deadline_s:  # noqa: ASYNC110 - an event would cost each request
            await asyncio.sleep(_LOOK_AGAIN_S)


def hold_signals() -> None:
    """Block both signals for this thread and those that it will start, until `signalled` takes them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def end_with_parent(number: signal.Signals) -> None:
    """Get this signal from the kernel when the process named in PARENT_VARIABLE ends. Does nothing outside Linux."""
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if not parent or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != int(parent):  # it ended before the kernel was asked
        signal.raise_signal(number)


async def signalled(drain_s: float, end: Callable[[], None]) -> None:
    """Return at the first signal. `end`, which ends the process, is called at a second one.

    It is called too when `drain_s` and a moment for unloading have passed since the first, whatever still runs by then.
    """
    loop, first = asyncio.get_running_loop(), asyncio.Event()

    def take() -> None:
        signal.sigwait(_SIGNALS)
        loop.call_soon_threadsafe(first.set)
        if signal.sigtimedwait(_SIGNALS, drain_s + _UNLOAD_S) is None:
            log.warning("Ended without waiting any longer: something still ran %g s after the signal", drain_s)
        end()

    threading.Thread(target=take, name="signals", daemon=True).start()
    await first.wait()
