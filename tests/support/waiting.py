"""Waiting for what comes to be so."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(seen: Callable[[], object], expected: object, timeout_s: float = 60.0) -> None:
    """Wait until what is seen is what is expected."""
    deadline = time.monotonic() + timeout_s
    while (saw := seen()) != expected:
        assert time.monotonic() < deadline, f"saw {saw}, expected {expected}"
        time.sleep(0.02)


def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    eventually(is_so, True)
