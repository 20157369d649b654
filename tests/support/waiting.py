"""Waiting for a condition, by looking again and again."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 240.0  # a busy machine takes its time; what has not happened by then never will
LOOK_S = 0.02  # the pause between two looks at first
LONGEST_LOOK_S = 0.5


def eventually(seen: Callable[[], object], expected: object, timeout_s: float = PATIENCE_S) -> None:
    """Wait until `seen()` returns what is expected."""
    begin_s = time.monotonic()
    while (saw := seen()) != expected:
        assert time.monotonic() < begin_s + timeout_s, f"saw {saw}, expected {expected}"
        _pause(begin_s)


def wait_for(is_so: Callable[[], object], describe: Callable[[], str] = str) -> None:
    """Wait until `is_so()` is true; `describe` tells what went on if it never is."""
    begin_s = time.monotonic()
    while not is_so():
        assert time.monotonic() < begin_s + PATIENCE_S, describe()
        _pause(begin_s)


def _pause(begin_s: float) -> None:
    """Pause before the next look: a twentieth of the time waited so far, since many looks are whole commands."""
    time.sleep(min(max(LOOK_S, (time.monotonic() - begin_s) / 20), LONGEST_LOOK_S))
