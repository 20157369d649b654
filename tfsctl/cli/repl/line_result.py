"""`LineResult`: the result of one line of the REPL."""

from __future__ import annotations

from dataclasses import dataclass

from tfsctl.errors import TfsctlError


@dataclass(frozen=True, slots=True)
class LineResult:
    """Lines to print on stdout (`answer`) and stderr (`notes`), or an error; `leave` ends the REPL."""

    answer: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: TfsctlError | None = None
    leave: bool = False
