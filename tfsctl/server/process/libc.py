"""The C library, for functions that Python's standard library does not have."""

from __future__ import annotations

import ctypes
from functools import lru_cache


@lru_cache(maxsize=None)
def libc() -> ctypes.CDLL:
    """The C library. Each CDLL object is a reference cycle, so there is only one."""
    return ctypes.CDLL(None)
