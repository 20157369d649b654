"""How long a servable's runs take, and so where they belong: on the event loop, or in threads.

Judged by the CPU time of runs in the caller's own thread: wall time would call a model slow because the machine is busy.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np

    from tfsctl.server.runtime.session import Endpoint, Session

_T = TypeVar("_T")

QUICK_RUN_S = 0.001  # a longer run would keep other requests waiting; a hand-over to a thread costs a tenth of this
SLOW_RUN_S = 0.002  # what was quick stays so until here
_SAMPLES = 9
_LOOK_AGAIN_AFTER = 500  # runs of a slow model, after which it is measured anew
_QUICK_RUNS_A_SAMPLE = 16  # asking for a thread's CPU time takes a microsecond, which a quick run should rarely pay


class Pace:
    """The pace of one model. Until enough runs are measured it counts as slow."""

    def __init__(self) -> None:
        self.is_quick = False
        self._recent_s: deque[float] = deque(maxlen=_SAMPLES)
        self._unmeasured = 0

    def run(
        self,
        session: Session,
        feeds: Sequence[tuple[Endpoint, np.ndarray]],
        fetches: Sequence[Endpoint],
        *,
        timeout_ms: int,
    ) -> list[np.ndarray]:
        """Run in this thread while the model is quick or being measured, else with all of TensorFlow's threads."""
        if self.is_quick or self._wants_sample:
            return self.run_inline(partial(session.run, feeds, fetches, inline=True))
        arrays = session.run(feeds, fetches, timeout_ms=timeout_ms)
        self._pass_by()
        return arrays

    def run_inline(self, work: Callable[[], _T], requests: int = 1) -> _T:
        """Do what runs so many requests in this thread."""
        if self._wants_sample:
            start_s = time.thread_time()
            done = work()
            self._add((time.thread_time() - start_s) / requests)
        else:
            start_s = time.perf_counter()
            done = work()
            self._pass_by((time.perf_counter() - start_s) / requests)
        return done

    @property
    def _wants_sample(self) -> bool:
        """Whether the next run should be measured, in the thread that makes it."""
        if len(self._recent_s) < _SAMPLES:
            return True
        return self.is_quick and self._unmeasured >= _QUICK_RUNS_A_SAMPLE

    def _add(self, cpu_s: float) -> None:
        """A measured run: the CPU seconds of its thread."""
        self._unmeasured = _QUICK_RUNS_A_SAMPLE if cpu_s > QUICK_RUN_S else 0  # after a slow one look at the next too
        self._recent_s.append(cpu_s)
        if len(self._recent_s) == _SAMPLES:
            self.is_quick = statistics.median(self._recent_s) < (SLOW_RUN_S if self.is_quick else QUICK_RUN_S)

    def _pass_by(self, wall_s: float = 0.0) -> None:
        """A run whose CPU time was not measured; now and then the next ones are again, and after a long one."""
        self._unmeasured += 1 if wall_s < QUICK_RUN_S else _QUICK_RUNS_A_SAMPLE
        if not self.is_quick and self._unmeasured >= _LOOK_AGAIN_AFTER:
            self._unmeasured = 0
            self._recent_s.clear()
