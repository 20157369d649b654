"""How the state of a shadow is printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfsctl.cli.output import terminal


def print_shadow(shadow: Mapping[str, Any]) -> None:
    """Print the `shadow` of `tfsctl shadow --json` as text."""
    terminal.answer(summary(shadow))
    terminal.answer(f"  {shadow['copies']:,} requests copied, {shadow['samples']:,} compared")
    counts = {
        "dropped, because the collector was behind": shadow["dropped"],
        "skipped: another signature, another call, or a version by number": shadow["skipped"],
        f"without an answer of version {shadow['a']}": shadow["a_failures"],
        f"without an answer of version {shadow['b']} only": shadow["b_failures"],
    }
    for what, count in counts.items():
        if count:
            terminal.answer(f"  {count:,} {what}")
    if shadow["collector_starts"] > 1:
        terminal.answer(
            f"  the collector was started {shadow['collector_starts']} times: the comparison is of the last"
        )


def summary(shadow: Mapping[str, Any]) -> str:
    """One line: the versions, the state, the share that is copied, and the reason of the end."""
    where = f" on {100 * shadow['sample']:g}% of the requests" if shadow["status"] == "running" else ""
    why = f": {shadow['reason']}" if shadow["reason"] else ""
    return f"{shadow['model']} {shadow['a']} and {shadow['b']}: shadow {shadow['status']}{where}{why}"
