"""What one line of a conversation brings."""

from __future__ import annotations

from dataclasses import dataclass

from tfsctl.errors import TfsctlError


@dataclass(frozen=True, slots=True)
class Reply:
    """What a line brought: lines of the answer, notes beside it, an error instead, or the wish to leave."""

    answer: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: TfsctlError | None = None
    leave: bool = False
