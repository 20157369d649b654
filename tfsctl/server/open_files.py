"""How many files the process may have open: connections count among them."""

from __future__ import annotations

import resource

_MANY = 1_000_000
_OTHERS = 256  # libraries, logs, event loops, the files of a model being loaded


def raise_limit() -> None:
    """Let the process have as many as the system allows it; the usual default is far less."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def for_connections() -> int:
    """How many of them may be connections: what loads a model needs some too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _MANY if soft == resource.RLIM_INFINITY else soft
    return max(files - _OTHERS, files // 2)
