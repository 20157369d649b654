"""Shutdown: at SIGTERM or SIGINT the server finishes running requests first, within a time limit.

A separate thread receives the signals, because the event loop may be blocked by a run that does not end. It also
receives the signal to hand the ports over to another process (`programs/port_handover`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from tfsctl.programs import port_handover
from tfsctl.programs.processes import PARENT_VARIABLE
from tfsctl.server.process.libc import libc

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
_POLL_S = 0.02
_UNLOAD_S = 2.0


class RunningRequests:
    """Counts the running requests. `is_draining` is true once new ones are refused."""

    __slots__ = ("is_draining", "running")

    def __init__(self) -> None:
        self.running = 0
        self.is_draining = False

    async def drain(self, timeout_s: float) -> None:
        """Refuse new requests, and wait for the running ones for `timeout_s` at most."""
        self.is_draining = True
        if not self.running:
            return
        log.info("Waiting for %d running requests, %g s at most", self.running, timeout_s)
        deadline_s = time.monotonic() + timeout_s
        while self.running and time.monotonic() < deadline_s:  # noqa: ASYNC110 - an event would slow down each request
            await asyncio.sleep(_POLL_S)


def hold_signals() -> None:
    """Block the signals in this thread and in threads started later; `wait_for_signal` receives them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS | {port_handover.SIGNAL})


def end_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this signal when the process named in PARENT_VARIABLE ends. Does nothing outside Linux."""
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if not parent or sys.platform != "linux":
        return
    libc().prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != int(parent):  # it ended before the kernel was asked
        signal.raise_signal(number)


async def wait_for_signal(drain_s: float, end: Callable[[], None], hand_over: Callable[[], None]) -> None:
    """Return at the first SIGTERM or SIGINT. `end`, which must end the process, is called at the second one.

    It is also called two seconds (for unloading) after `drain_s` have passed since the first one.
    `hand_over` is called on the event loop when this process is asked to hand its ports over.
    """
    loop, first = asyncio.get_running_loop(), asyncio.Event()

    def receive() -> None:
        while signal.sigwait(_SIGNALS | {port_handover.SIGNAL}) == port_handover.SIGNAL:
            loop.call_soon_threadsafe(hand_over)
        loop.call_soon_threadsafe(first.set)
        if signal.sigtimedwait(_SIGNALS, drain_s + _UNLOAD_S) is None:
            log.warning("Ended without waiting any longer: something still ran %g s after the signal", drain_s)
        end()

    threading.Thread(target=receive, name="signals", daemon=True).start()
    await first.wait()
