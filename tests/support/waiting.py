"""Waits for a condition by polling it."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 240.0  # after this time a condition counts as never met, also on a busy machine
POLL_S = 0.02  # the first pause between two polls
MAX_POLL_S = 0.5


def eventually(observe: Callable[[], object], expected: object) -> None:
    """Wait until `observe()` returns the expected value."""
    begin_s = time.monotonic()
    while (observed := observe()) != expected:
        assert time.monotonic() < begin_s + PATIENCE_S, f"observed {observed}, expected {expected}"
        _pause(begin_s)


def wait_for(is_so: Callable[[], object], describe: Callable[[], str] = str) -> None:
    """Wait until `is_so()` is true; `describe` returns the message of the failure if it never is."""
    begin_s = time.monotonic()
    while not is_so():
        assert time.monotonic() < begin_s + PATIENCE_S, describe()
        _pause(begin_s)


def _pause(begin_s: float) -> None:
    """Pause before the next poll for a twentieth of the time waited so far: many polls run a whole command."""
    time.sleep(min(max(POLL_S, (time.monotonic() - begin_s) / 20), MAX_POLL_S))
