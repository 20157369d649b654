"""The end of a server: what runs at SIGTERM or SIGINT is answered first, for as long as that may take.

Envoy ends at once when it is signalled. So its process is started with both signals blocked, a thread of ours takes
them, and passes them on to Envoy when the last request is answered.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
_LOOK_AGAIN_S = 0.02
_FLUSH_S = 0.1  # an answer given to the runtime is not yet one that left the machine
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
        await asyncio.sleep(_FLUSH_S)


def hold_signals() -> None:
    """Block both signals for this thread, what it becomes and what it starts, until `pass_signals_on` takes them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def pass_signals_on(drain: Callable[[], Awaitable[None]]) -> None:
    """Where signals are held: take the first one, drain on this event loop, and pass the signal on; a second at once."""
    if signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        loop = asyncio.get_running_loop()
        threading.Thread(target=_take_and_pass_on, args=(drain, loop), name="signals", daemon=True).start()


def _take_and_pass_on(drain: Callable[[], Awaitable[None]], loop: asyncio.AbstractEventLoop) -> None:
    number = signal.sigwait(SIGNALS)
    drained = threading.Event()

    async def drain_and_say_so() -> None:
        try:
            await drain()
        finally:
            drained.set()

    asyncio.run_coroutine_threadsafe(drain_and_say_so(), loop)
    while not drained.is_set() and signal.sigtimedwait(SIGNALS, _LOOK_AGAIN_S) is None:
        pass
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    os.kill(os.getpid(), number)


def end_within(timeout_s: float, end: Callable[[], None]) -> None:
    """Call `end`, which ends the process, after `timeout_s` and a moment for unloading, whatever still runs by then.

    Threads inside TensorFlow cannot be ended any other way.
    """

    def give_up() -> None:
        log.warning("Ended without waiting any longer: something still ran %g s after the signal", timeout_s)
        end()

    timer = threading.Timer(timeout_s + _UNLOAD_S, give_up)
    timer.daemon = True
    timer.start()
