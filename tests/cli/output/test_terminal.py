"""Lines on stderr."""

from __future__ import annotations

import io
import sys

import pytest

from tfsctl.cli.output import terminal
from tfsctl.errors import NotFound


class Writes(io.StringIO):
    """Keeps what each call wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def write(self, text: str) -> int:
        """Write text."""
        self.calls.append(text)
        return super().write(text)


def test_each_line_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread, which prints the log of a server, cannot write between a line and its end."""
    stderr = Writes()
    monkeypatch.setattr(sys, "stderr", stderr)
    terminal.say("ready: m version 1")
    terminal.log_line("2026-11-29 09:51:18,460 I Adding/updating models.")
    terminal.report_error(NotFound("there is no model m", hint="tfsctl ps"))

    assert stderr.calls == [
        "ready: m version 1\n",
        "2026-11-29 09:51:18,460 I Adding/updating models.\n",
        "error: there is no model m\n",
        "hint: tfsctl ps\n",
    ]
