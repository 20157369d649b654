"""Waiting for a condition, by looking again and again."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 240.0  # a busy machine takes its time; what has not happened by then never will
LOOK_S = 0.02


def eventually(seen: Callable[[], object], expected: object, timeout_s: float = PATIENCE_S) -> None:
    """Wait until `seen()` returns what is expected."""
    deadline_s = time.monotonic() + timeout_s
    while (saw := seen()) != expected:
        assert time.monotonic() < deadline_s, f"saw {saw}, expected {expected}"
        time.sleep(LOOK_S)


def wait_for(is_so: Callable[[], object], describe: Callable[[], str] = str) -> None:
    """Wait until `is_so()` is true; `describe` tells what went on if it never is."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline_s, describe()
        time.sleep(LOOK_S)
