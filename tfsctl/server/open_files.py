"""How many files the process may have open: connections count among them."""

from __future__ import annotations

import resource

_MANY = 1_000_000


def raise_limit() -> None:
    """Let the process have as many as the system allows it; the usual default is far less."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit() -> int:
    """How many it may have now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MANY if soft == resource.RLIM_INFINITY else soft
