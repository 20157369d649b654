"""How many rows a request, and how many requests at once: grown step by step until throughput stops rising."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

FIRST_ROWS, MOST_ROWS = 16, 4096
FIRST_AT_ONCE, MOST_AT_ONCE = 2, 16
MOST_REQUEST_BYTES = 4 << 20  # TensorFlow Serving takes far more, but proxies on the way may not
MOST_REQUEST_S = 2.0  # past this, more rows a request make an answer's loss dearer and nothing faster
_RISE = 1.08
_PATIENCE = 2  # steps without a rise: one may be chance
_STEP_S = 0.06
_STEP_ANSWERS = 6


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to ask."""

    rows: int
    at_once: int


class Growth:
    """Finds the setting. What is fixed from the start stays so. Not for several threads."""

    def __init__(
        self, rows: int | None, at_once: int | None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._grows_rows, self._grows_at_once = rows is None, at_once is None
        self._clock = clock
        self._most_rows = MOST_ROWS if rows is None else rows
        self._tries = 0
        self.setting = self._best = Setting(rows or FIRST_ROWS, at_once or FIRST_AT_ONCE)
        self._best_rate = 0.0
        self._since: float | None = None  # when this step began to be measured, and what was answered since
        self._rows = self._answers = 0

    def answered(self, rows: int, latency_s: float, request_bytes: int, asked_with: Setting) -> None:
        """Note an answer, and decide whether to grow."""
        if rows and request_bytes / rows * self.setting.rows * 2 > MOST_REQUEST_BYTES:
            self._most_rows = min(self._most_rows, self.setting.rows)
        if latency_s > MOST_REQUEST_S / 2:
            self._most_rows = min(self._most_rows, self.setting.rows)
        if not (self._grows_rows or self._grows_at_once) or asked_with != self.setting:
            return
        now = self._clock()
        if self._since is None:  # the first answer opens the step: what it waited for was under way before
            self._since = now
            return
        self._rows += rows
        self._answers += 1
        wanted = max(_STEP_ANSWERS, 2 * self.setting.at_once)
        if self._answers >= wanted and now - self._since >= _STEP_S:
            self._judge(self._rows / (now - self._since))

    def refused(self, rows: int) -> None:
        """Note that so many rows are too many for the server."""
        self._most_rows = max(1, min(self._most_rows, rows // 2))
        if self.setting.rows > self._most_rows:
            self._grows_rows = False
            self._best_rate = 0.0
            self._go(Setting(self._most_rows, self.setting.at_once))

    def exhausted(self) -> None:
        """Note that the server has more requests than it wants."""
        if self._grows_at_once and self.setting.at_once > 1:
            self._grows_rows = self._grows_at_once = False
            self._go(Setting(self.setting.rows, max(1, self.setting.at_once // 2)))

    def _judge(self, rate: float) -> None:
        if rate > self._best_rate * _RISE:
            self._best, self._best_rate, self._tries = self.setting, rate, 0
        else:
            self._tries += 1
        if self._tries < _PATIENCE and (bigger := self._bigger()) is not None:
            self._go(bigger)
            return
        self._tries = 0
        if self._grows_rows:
            self._grows_rows = False
        else:
            self._grows_at_once = False
        self._go(self._best)

    def _bigger(self) -> Setting | None:
        now = self.setting
        if self._grows_rows:
            return Setting(now.rows * 2, now.at_once) if now.rows * 2 <= self._most_rows else None
        return Setting(now.rows, now.at_once * 2) if self._grows_at_once and now.at_once * 2 <= MOST_AT_ONCE else None

    def _go(self, setting: Setting) -> None:
        self.setting = setting
        self._since = None
        self._rows = self._answers = 0
