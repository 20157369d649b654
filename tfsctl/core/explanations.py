"""What TensorFlow Serving's errors mean: the cause of each that is known, and what to type next.

The tables are in `server_errors.py` (what its log says), `request_errors.py` (what it answers) and
`connection_errors.py` (why it does not).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Explanation:
    """What some words of a server mean: the words, why they were said, and what to do about it."""

    words: str
    cause: str
    hint: str


@dataclass(frozen=True, slots=True)
class Known:
    """One known error: a regular expression for its words; cause and hint may name its groups as `{group}`."""

    pattern: str
    cause: str
    hint: str


def explain(text: str) -> Explanation | None:
    """The most telling explanation of an error or a log; None where nothing in it is known."""
    return next(iter(explain_all(text)), None)


def explain_all(text: str) -> tuple[Explanation, ...]:
    """Every explanation of an error or a log, causes before what follows from them; one for a line, each only once."""
    text = text.replace('\\"', '"').replace("\\n", "\n")  # as it stands in the JSON of an answer
    found: list[Explanation] = []
    explained: set[int] = set()
    for pattern, known in _table():
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.end())
            if line in explained:
                continue
            explained.add(line)
            groups = {name: " ".join((value or "").split()) for name, value in match.groupdict().items()}
            words = " ".join(match[0].split())
            found.append(Explanation(words, known.cause.format(**groups), known.hint.format(**groups)))
            break
    return tuple(found)


@cache
def _table() -> tuple[tuple[re.Pattern[str], Known], ...]:
    from tfsctl.core.connection_errors import CONNECTION_ERRORS
    from tfsctl.core.request_errors import REQUEST_ERRORS
    from tfsctl.core.server_errors import SERVER_ERRORS

    tables = (*SERVER_ERRORS, *REQUEST_ERRORS, *CONNECTION_ERRORS)
    return tuple((re.compile(known.pattern), known) for known in tables)
