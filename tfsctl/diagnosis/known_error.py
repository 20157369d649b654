"""The type of an entry in the tables of known errors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownError:
    """One known error: a regular expression for its text. Cause and hint may use its named groups as `{group}`."""

    pattern: str
    cause: str
    hint: str
