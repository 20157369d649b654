"""Measures the turns of a server's event loop in CPU time. Python imports this if its folder is in PYTHONPATH.

The variable TURNS_FILE names a file of 24 bytes, where the server writes three float64 values: the longest turn in
seconds, how many took more than 10 ms, and the most CPU time that the loop's own thread used in one. A turn is the time from
one call of a timer of 1 ms to the next. It counts the CPU time of the loop's thread, and of the server's other Python
threads, which may have held Python's lock meanwhile: not that of TensorFlow's threads, and never more than the time that
has passed. So other processes make it hardly longer. Work without Python's lock does, such as copying many megabytes, if
the loop has no CPU meanwhile, and so does up to 1 ms of work beside an idle loop.
"""

from __future__ import annotations

import os
import sys

if "TURNS_FILE" in os.environ and "tfsctl.server" in sys.orig_argv:
    import asyncio
    import mmap
    import struct
    import threading
    import time
    from contextlib import suppress

    from tfsctl.server.process import loop_yield

    INTERVAL_S, LONG_S = 0.001, 0.010
    VALUES = struct.Struct("3d")

    class Probe:
        """Measures the turns of the loop of the calling thread."""

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            with open(os.environ["TURNS_FILE"], "r+b") as file:
                self._values = mmap.mmap(file.fileno(), VALUES.size)
            self._loop, self._thread = loop, threading.get_ident()
            self._cpu_s, self._since_s = self._thread_times(), loop.time()
            loop.call_later(INTERVAL_S, self._end_turn)

        def _thread_times(self) -> dict[int, float]:
            times = {}
            for thread in threading.enumerate():
                if thread.ident is not None:
                    with suppress(OSError):  # it has ended meanwhile
                        times[thread.ident] = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
            return times

        def _end_turn(self) -> None:
            before, now, now_s = self._cpu_s, self._thread_times(), self._loop.time()
            used_s = {thread: cpu_s - before.get(thread, 0.0) for thread, cpu_s in now.items()}
            turn_s = min(now_s - self._since_s, sum(used_s.values()))
            longest_s, count, own_s = VALUES.unpack(self._values[:])
            longest_s, own_s = max(longest_s, turn_s), max(own_s, used_s[self._thread])
            self._values[:] = VALUES.pack(longest_s, count + (turn_s > LONG_S), own_s)
            self._cpu_s, self._since_s = now, self._loop.time()
            self._loop.call_later(INTERVAL_S, self._end_turn)

    serve = loop_yield.serve

    def serve_measured(loop: asyncio.AbstractEventLoop) -> None:
        """Measure the turns of the loop that threads wait for."""
        serve(loop)
        Probe(loop)

    loop_yield.serve = serve_measured
