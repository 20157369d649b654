"""What a fork server runs besides programs of tfsctl."""

from __future__ import annotations

import sys


def run_stdin() -> None:
    """Run the Python program on stdin."""
    exec(compile(sys.stdin.read(), "<stdin>", "exec"), {"__name__": "__main__"})  # noqa: S102 - as `python -` does
