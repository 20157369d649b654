"""How many rows a request, and how many requests at once: grown step by step until throughput stops rising."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

FIRST_ROWS, MOST_ROWS = 16, 4096
FIRST_AT_ONCE, MOST_AT_ONCE = 2, 16
MOST_REQUEST_BYTES = 4 << 20  # TensorFlow Serving takes far more, but proxies on the way may not
MOST_REQUEST_S = 2.0  # past this, more rows a request make an answer's loss dearer and nothing faster
_RISE, _STEEP = 1.08, 1.7  # a step up that was worth it, and one after which the next is longer
_PATIENCE = 2  # steps without a rise: one may be chance
_STEP_S = 0.04
_STEP_ANSWERS = 6
_SETTLED_S = 1.0


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to ask."""

    rows: int
    at_once: int


class Growth:
    """Finds the setting: rows first, then requests at once; and looks again from time to time, for loads change.

    What is fixed from the start stays so. Not for several threads.
    """

    def __init__(
        self, rows: int | None, at_once: int | None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._clock = clock
        self._finds_rows, self._finds_at_once = rows is None, at_once is None
        self._most_rows, self._most_at_once = rows or MOST_ROWS, at_once or MOST_AT_ONCE
        self.setting = self._best = Setting(rows or FIRST_ROWS, at_once or FIRST_AT_ONCE)
        self._step = Step(self.setting)
        self._begin()

    def answered(self, rows: int, latency_s: float, request_bytes: int, asked_with: Setting) -> None:
        """Note an answer, and decide how to ask on."""
        if latency_s > MOST_REQUEST_S / 2 or request_bytes * 2 > MOST_REQUEST_BYTES:
            self._most_rows = min(self._most_rows, self.setting.rows)
        if asked_with == self.setting and (rate := self._step.rate(rows, self._clock())) is not None:
            self._judge(rate)

    def refused(self, rows: int) -> None:
        """Note that so many rows are too many for the server."""
        self._most_rows = max(1, min(self._most_rows, rows // 2))
        if self.setting.rows > self._most_rows:
            self._go(Setting(self._most_rows, self.setting.at_once))
            self._begin()

    def exhausted(self) -> None:
        """Note that the server has more requests than it wants."""
        if self._finds_at_once and self.setting.at_once > 1:
            self._most_at_once = max(1, self.setting.at_once // 2)
            self._go(Setting(self.setting.rows, self._most_at_once))
            self._begin()

    def _begin(self) -> None:
        """Measure the present setting, and grow from there."""
        self._best, self._best_rate, self._tries, self._factor = self.setting, 0.0, 0, 2
        self._grows_rows, self._grows_at_once = self._finds_rows, self._finds_at_once

    def _judge(self, rate: float) -> None:
        if not (self._grows_rows or self._grows_at_once):  # settled a while ago
            self._begin()
        self._factor = 4 if self._best_rate and rate > self._best_rate * _STEEP else 2
        if rate > self._best_rate * _RISE:
            self._best, self._best_rate, self._tries = self.setting, rate, 0
        else:
            self._tries += 1
        while self._grows_rows or self._grows_at_once:
            bigger = self._bigger()
            if self._tries < _PATIENCE and bigger is not None:
                self._go(bigger)
                return
            self._tries = 0
            self._go(self._best)
            if self._grows_rows:
                self._grows_rows = False
            else:
                self._grows_at_once = False
        self._step = Step(self.setting, lasts_s=_SETTLED_S)

    def _bigger(self) -> Setting | None:
        now = self.setting
        if self._grows_rows:
            rows = min(now.rows * self._factor, self._most_rows)
            return Setting(rows, now.at_once) if rows > now.rows else None
        return Setting(now.rows, now.at_once * 2) if now.at_once * 2 <= self._most_at_once else None

    def _go(self, setting: Setting) -> None:
        self.setting = setting
        self._step = Step(setting)


class Step:
    """A setting on trial."""

    def __init__(self, setting: Setting, lasts_s: float = _STEP_S) -> None:
        self._answers_wanted = max(_STEP_ANSWERS, 2 * setting.at_once)
        self._lasts_s = lasts_s
        self._since: float | None = None
        self._rows = self._answers = 0

    def rate(self, rows: int, now: float) -> float | None:
        """Rows per second once enough answers have come, with this one; None until then."""
        if self._since is None:  # what the first answer waited for was under way before
            self._since = now
            return None
        self._rows += rows
        self._answers += 1
        if self._answers < self._answers_wanted or now - self._since < self._lasts_s:
            return None
        return self._rows / (now - self._since)
