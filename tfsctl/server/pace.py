"""How long a servable's runs take, and so where they belong: on the event loop, or in threads.

Judged by the CPU time of runs in the caller's own thread: wall time would call a model slow because the machine is busy.
"""

from __future__ import annotations

import statistics
from collections import deque

QUICK_RUN_S = 0.001  # a longer run would keep other requests waiting; a hand-over to a thread costs a tenth of this
SLOW_RUN_S = 0.002  # what was quick stays so until here
_SAMPLES = 9
_LOOK_AGAIN_AFTER = 500  # runs of a slow model, after which it is measured anew


class Pace:
    """The pace of one model. Until enough runs are measured it counts as slow."""

    def __init__(self) -> None:
        self.is_quick = False
        self._recent_s: deque[float] = deque(maxlen=_SAMPLES)
        self._unmeasured = 0

    @property
    def wants_sample(self) -> bool:
        """Whether the next run should be measured, in the thread that makes it."""
        return self.is_quick or len(self._recent_s) < _SAMPLES

    def add(self, cpu_s: float) -> None:
        """A measured run: the CPU seconds of its thread."""
        self._recent_s.append(cpu_s)
        if len(self._recent_s) == _SAMPLES:
            self.is_quick = statistics.median(self._recent_s) < (SLOW_RUN_S if self.is_quick else QUICK_RUN_S)

    def pass_by(self) -> None:
        """A run that was not measured; now and then the next ones are again."""
        self._unmeasured += 1
        if self._unmeasured >= _LOOK_AGAIN_AFTER:
            self._unmeasured = 0
            self._recent_s.clear()
