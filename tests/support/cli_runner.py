"""Run command lines in this process, with streams in memory."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Result:
    """The outcome of one command line."""

    stdout: str
    stderr: str
    code: int


class RunCli(Protocol):
    """`run_cli("predict", "text")`: what the `run_cli` fixture gives."""

    def __call__(self, *args: object, stdin: str | bytes | None = None) -> Result:
        """Run one command line."""


def document(run_cli: RunCli, *arguments: object) -> dict[str, Any]:
    """The JSON document that a successful command prints."""
    shown = run_cli(*arguments, "--json")
    assert shown.code == 0, shown.stderr
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


class MemoryStream(io.TextIOWrapper):
    """A standard stream kept in memory; `terminal` says what it claims to be."""

    def __init__(self, content: bytes = b"", *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8", errors="surrogateescape", write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        """Whether it claims to be a terminal."""
        return self._terminal

    def written(self) -> str:
        """All that was printed to it."""
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode("utf-8", "surrogateescape")
