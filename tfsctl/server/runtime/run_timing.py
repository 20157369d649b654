"""Measures how long the runs of a model take, which decides where they run: on the event loop or in threads.

The measure is the CPU time of runs in the calling thread. Wall time would call a model slow if the machine is busy.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np

    from tfsctl.server.runtime.session import Endpoint, Session

_T = TypeVar("_T")

QUICK_RUN_S = 0.001  # a longer run on the loop would delay other requests; handing over to a thread costs 0.1 ms
SLOW_RUN_S = 0.002  # a quick model stays quick up to this (hysteresis)
_SAMPLES = 9
_RUNS_UNTIL_REMEASURED = 500  # of a slow model
_QUICK_RUNS_PER_SAMPLE = 16  # reading a thread's CPU time takes a microsecond, much for a quick run


class RunTiming:
    """Whether the runs of one model are quick (below 1 ms). A model counts as slow until enough runs are measured."""

    def __init__(self) -> None:
        self.is_quick = False
        self._recent_s: deque[float] = deque(maxlen=_SAMPLES)
        self._until_sample = 0  # how many runs may go unmeasured before the next sample

    def run(
        self,
        session: Session,
        feeds: Sequence[tuple[Endpoint, np.ndarray]],
        fetches: Sequence[Endpoint],
        *,
        timeout_ms: int,
    ) -> list[np.ndarray]:
        """Run inline (in this thread only) if the model is quick or is being measured, else with TensorFlow's threads."""
        if self.runs_inline:
            return self.run_inline(partial(session.run, feeds, fetches, inline=True))
        arrays = session.run(feeds, fetches, timeout_ms=timeout_ms)
        self._until_sample -= 1
        return arrays

    def run_inline(self, work: Callable[[], _T], requests: int = 1) -> _T:
        """Call `work`, which runs that many requests in this thread, and measure it if a sample is due."""
        if self._until_sample <= 0:
            start_s = time.thread_time()
            done = work()
            self._add((time.thread_time() - start_s) / requests)
            return done
        start_s = time.perf_counter()
        done = work()
        is_long = (time.perf_counter() - start_s) / requests >= QUICK_RUN_S
        self._until_sample -= _QUICK_RUNS_PER_SAMPLE if is_long else 1  # the run after a long one is measured
        return done

    @property
    def runs_inline(self) -> bool:
        """Whether the next run is inline, so that the CPU time of its thread is all that it takes."""
        return self.is_quick or self._until_sample <= 0

    def _add(self, cpu_s: float) -> None:
        """Record a measured run: the CPU seconds of its thread. After a long one the next run is measured too."""
        recent_s = self._recent_s
        if len(recent_s) == _SAMPLES and not self.is_quick:
            recent_s.clear()  # the old samples made the model slow: it is measured anew
        recent_s.append(cpu_s)
        if len(recent_s) < _SAMPLES:
            self._until_sample = 0
            return
        median_s = sorted(recent_s)[_SAMPLES // 2]  # statistics.median takes 2 % of the CPU time of a small request
        self.is_quick = median_s < (SLOW_RUN_S if self.is_quick else QUICK_RUN_S)
        if not self.is_quick:
            self._until_sample = _RUNS_UNTIL_REMEASURED
        else:
            self._until_sample = 0 if cpu_s > QUICK_RUN_S else _QUICK_RUNS_PER_SAMPLE
