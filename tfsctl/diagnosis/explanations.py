"""What TensorFlow Serving's errors mean: the cause of each that is known, and what to type next.

The tables are in `server_errors.py` (what its log says), `request_errors.py` (what it answers) and
`connection_errors.py` (why it does not).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache

_TIME = re.compile(r"[\dTZ:.,+ -]*")  # what a line of a log begins with
_NEXT_SERVABLE = "}, {{name: "  # one line tells of every servable that did not become available


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
    text = _once_each_line(text.replace(_NEXT_SERVABLE, "},\n{{name: "))
    ends = [match.start() for match in re.finditer("\n", text)]
    found: dict[tuple[str, str], Explanation] = {}
    explained: set[int] = set()
    for pattern, known in _table():
        for match in pattern.finditer(text):
            line = bisect_left(ends, match.end())
            if line in explained:
                continue
            explained.add(line)
            groups = {name: " ".join((value or "").split()) for name, value in match.groupdict().items()}
            cause, hint = known.cause.format(**groups), known.hint.format(**groups)
            found.setdefault((cause, hint), Explanation(" ".join(match[0].split()), cause, hint))
    return tuple(found.values())


def _once_each_line(text: str) -> str:
    """A log without the lines that it repeats, whenever: a server that polls says the same every second for days."""
    lines: dict[str, str] = {}
    for line in text.split("\n"):
        said = line[match.end() :] if (match := _TIME.match(line)) else line
        lines.setdefault(said, line)
    return "\n".join(lines.values())


@cache
def _table() -> tuple[tuple[re.Pattern[str], Known], ...]:
    from tfsctl.diagnosis.connection_errors import CONNECTION_ERRORS
    from tfsctl.diagnosis.request_errors import REQUEST_ERRORS
    from tfsctl.diagnosis.server_errors import SERVER_ERRORS

    tables = (*SERVER_ERRORS, *REQUEST_ERRORS, *CONNECTION_ERRORS)
    return tuple((re.compile(known.pattern), known) for known in tables)
