"""Waiting for a condition, by looking again and again."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 240.0  # a busy machine takes its time; what has not happened by then never will


def eventually(seen: Callable[[], object], expected: object, timeout_s: float = PATIENCE_S) -> None:
    """Wait until `seen()` returns what is expected."""
    deadline = time.monotonic() + timeout_s
    while (saw := seen()) != expected:
        assert time.monotonic() < deadline, f"saw {saw}, expected {expected}"
        time.sleep(0.02)


def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait until `is_so()` is true."""
    eventually(is_so, True)
