"""Tunes the rows per request and the number of concurrent requests, step by step, until throughput stops rising."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

FIRST_ROWS, MAX_ROWS = 16, 4096
FIRST_CONCURRENCY, MAX_CONCURRENCY = 2, 16
MAX_REQUEST_BYTES = 4 << 20  # TensorFlow Serving accepts far more, but a proxy in between may not
MAX_REQUEST_S = 2.0  # beyond this, larger requests are not faster and a lost one costs more
_GAIN, _LARGE_GAIN = 1.08, 1.7  # throughput ratios: a step is kept; the next step is twice as long
_MAX_FAILED_STEPS = 2  # a single step without a gain may be chance
_MIN_STEP_S = 0.04
_MIN_STEP_ANSWERS = 6
_RETUNE_S = 1.0


@dataclass(frozen=True, slots=True)
class RequestSettings:
    """Rows per request, and requests at a time."""

    rows: int
    concurrency: int


class ThroughputTuner:
    """Finds the settings with the highest throughput: rows per request first, then concurrency.

    Tunes again from time to time, because the load of a server changes. A value given at the start stays fixed.
    Not thread-safe.
    """

    def __init__(
        self, rows: int | None, concurrency: int | None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._clock = clock
        self._tunes_rows, self._tunes_concurrency = rows is None, concurrency is None
        self.is_tuning = self._tunes_rows or self._tunes_concurrency  # otherwise answers need not be recorded
        self._max_rows, self._max_concurrency = rows or MAX_ROWS, concurrency or MAX_CONCURRENCY
        self.settings = self._best = RequestSettings(rows or FIRST_ROWS, concurrency or FIRST_CONCURRENCY)
        self._measurement = _Measurement(self.settings)
        self._restart()

    def record_answer(self, rows: int, latency_s: float, request_bytes: int, used: RequestSettings) -> None:
        """Record the answer to a request that used the given settings, and adjust the settings."""
        if latency_s > MAX_REQUEST_S / 2 or request_bytes * 2 > MAX_REQUEST_BYTES:
            self._max_rows = min(self._max_rows, self.settings.rows)
        if used == self.settings and (rate := self._measurement.rate(rows, self._clock())) is not None:
            self._next_step(rate)

    def record_too_large(self, rows: int) -> None:
        """Record that the server refused a request of `rows` rows as too large."""
        self._max_rows = max(1, min(self._max_rows, rows // 2))
        if self.settings.rows > self._max_rows:
            self._try(RequestSettings(self._max_rows, self.settings.concurrency))
            self._restart()

    def record_overload(self) -> None:
        """Record that the server refused a request because it has too many."""
        if self._tunes_concurrency and self.settings.concurrency > 1:
            self._max_concurrency = max(1, self.settings.concurrency // 2)
            self._try(RequestSettings(self.settings.rows, self._max_concurrency))
            self._restart()

    def _restart(self) -> None:
        """Start tuning from the current settings."""
        self._best, self._best_rate, self._failed_steps, self._factor = self.settings, 0.0, 0, 2
        self._grows_rows, self._grows_concurrency = self._tunes_rows, self._tunes_concurrency

    def _next_step(self, rate: float) -> None:
        if not (self._grows_rows or self._grows_concurrency):  # all tuned a while ago
            self._restart()
        self._factor = 4 if self._best_rate and rate > self._best_rate * _LARGE_GAIN else 2
        if rate > self._best_rate * _GAIN:
            self._best, self._best_rate, self._failed_steps = self.settings, rate, 0
        else:
            self._failed_steps += 1
        while self._grows_rows or self._grows_concurrency:
            bigger = self._bigger()
            if self._failed_steps < _MAX_FAILED_STEPS and bigger is not None:
                self._try(bigger)
                return
            self._failed_steps = 0
            self._try(self._best)
            if self._grows_rows:
                self._grows_rows = False
            else:
                self._grows_concurrency = False
        self._measurement = _Measurement(self.settings, min_s=_RETUNE_S)

    def _bigger(self) -> RequestSettings | None:
        now = self.settings
        if self._grows_rows:
            rows = min(now.rows * self._factor, self._max_rows)
            return RequestSettings(rows, now.concurrency) if rows > now.rows else None
        return RequestSettings(now.rows, now.concurrency * 2) if now.concurrency * 2 <= self._max_concurrency else None

    def _try(self, settings: RequestSettings) -> None:
        self.settings = settings
        self._measurement = _Measurement(settings)


class _Measurement:
    """Measures the throughput of one setting."""

    def __init__(self, settings: RequestSettings, min_s: float = _MIN_STEP_S) -> None:
        self._min_answers = max(_MIN_STEP_ANSWERS, 2 * settings.concurrency)
        self._min_s = min_s
        self._since: float | None = None
        self._rows = self._answers = 0

    def rate(self, rows: int, now: float) -> float | None:
        """Rows per second, once there are enough answers; None until then. `rows` is the size of this answer."""
        if self._since is None:  # the first answer waited for requests that were sent before
            self._since = now
            return None
        self._rows += rows
        self._answers += 1
        if self._answers < self._min_answers or now - self._since < self._min_s:
            return None
        return self._rows / (now - self._since)
