"""Explain TensorFlow Serving's errors: the cause of each known error, and what to do about it.

The tables of known errors:

- `server_errors.py`: errors in the log of a server
- `request_errors.py`: errors that a server answers with
- `connection_errors.py`: errors of connecting to a server
- `platform_errors.py`: errors of Docker, Kubernetes, the processor, the GPU and the operating system
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache

from tfsctl.diagnosis.known_error import KnownError

_TIMESTAMP = re.compile(r"[\dTZ:.,+ -]*")  # at the start of a log line
_NEXT_SERVABLE = "}, {{name: "  # separates servables in the line about those that did not become available


@dataclass(frozen=True, slots=True)
class Explanation:
    """An explained error: the words that were recognised, their cause, and what to do about it."""

    words: str
    cause: str
    hint: str


def explain(text: str) -> Explanation | None:
    """The most specific explanation of an error or a log; None if no known error is in it."""
    return next(iter(explain_all(text)), None)


def explain_all(text: str) -> tuple[Explanation, ...]:
    """All explanations of an error or a log, causes before their consequences.

    There is at most one for each line, and the same explanation is returned once.
    """
    text = text.replace('\\"', '"').replace("\\n", "\n")  # escapes, if the text was copied from a JSON answer
    text = _without_repeated_lines(text.replace(_NEXT_SERVABLE, "},\n{{name: "))
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


def _without_repeated_lines(text: str) -> str:
    """The log without repeated lines (ignoring timestamps): a polling server logs the same error every second."""
    lines: dict[str, str] = {}
    for line in text.split("\n"):
        message = line[match.end() :] if (match := _TIMESTAMP.match(line)) else line
        lines.setdefault(message, line)
    return "\n".join(lines.values())


@cache
def _table() -> tuple[tuple[re.Pattern[str], KnownError], ...]:
    # Imported when an error is explained: most commands meet none.
    from tfsctl.diagnosis.connection_errors import CONNECTION_ERRORS
    from tfsctl.diagnosis.platform_errors import PLATFORM_ERRORS
    from tfsctl.diagnosis.request_errors import REQUEST_ERRORS
    from tfsctl.diagnosis.server_errors import SERVER_ERRORS

    tables = (*SERVER_ERRORS, *REQUEST_ERRORS, *CONNECTION_ERRORS, *PLATFORM_ERRORS)
    return tuple((re.compile(known.pattern), known) for known in tables)
