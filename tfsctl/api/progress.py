"""The progress bar of `Client.predict_many`: one line on stderr, in a terminal or a notebook."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeAlias

ShowProgress: TypeAlias = Callable[[int, "float | None"], object]
"""Called with the number of rows that are answered, and the fraction of all rows (None if their number is unknown)."""

_WIDTH = 30
_INTERVAL_S = 0.1


class ProgressBar:
    """Writes a line to stderr, at most ten times a second."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._next = self._start
        self._is_shown = False
        self._last: tuple[int, float | None] = (0, None)

    def __call__(self, rows: int, fraction: float | None) -> None:
        """Show the number of rows that are answered, and which fraction of all rows they are."""
        self._last = rows, fraction
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _INTERVAL_S
            self._write()

    def finish(self) -> None:
        """Show the last state, and end the line."""
        if self._last[0]:
            self._write()
        if self._is_shown:
            sys.stderr.write("\n")

    def _write(self) -> None:
        rows, fraction = self._last
        done = "" if fraction is None else f"{'█' * round(fraction * _WIDTH):<{_WIDTH}} {fraction:4.0%}  "
        rate = rows / max(time.monotonic() - self._start, 1e-9)
        sys.stderr.write(f"\r{done}{rows:,} rows  {rate:,.0f} rows/s ")
        sys.stderr.flush()
        self._is_shown = True


def is_wanted() -> bool:
    """Whether a progress bar is shown by default: stderr is a terminal, or the program is a notebook."""
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())
