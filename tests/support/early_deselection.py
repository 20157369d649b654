"""Leave out what `-m` deselects before it is collected: importing a file and making its tests costs more than running many.

conftest.py calls this module. Pytest itself deselects the rest.
"""

from __future__ import annotations

import itertools
import re
from functools import cache
from pathlib import Path

from _pytest.mark.expression import Expression

# A marker that a file gives to all of its tests. One that stands first in a list of several lines is not found.
MARKER_OF_FILE = re.compile(r"^pytestmark = \[?pytest\.mark\.(\w+)(?:$|[],])", re.MULTILINE)


@cache
def never_selected(expression: str, markers: frozenset[str]) -> bool:
    """Whether `-m EXPRESSION` deselects each test with these markers, whatever other markers it has."""
    if not expression or "=" in expression:  # it may compare the arguments of markers
        return False
    names = set(re.findall(r"[^\s()]+", expression)) - {"and", "or", "not"}
    others = sorted(names - markers)
    compiled = Expression.compile(expression)
    return not any(
        compiled.evaluate((markers | set(itertools.compress(others, chosen))).__contains__)  # type: ignore[arg-type]
        for chosen in itertools.product((False, True), repeat=len(others))
    )


@cache
def markers_of_file(path: Path) -> frozenset[str]:
    """A marker that all tests of a file have, read without importing it. Empty if it is written in an unusual way."""
    return frozenset(MARKER_OF_FILE.findall(path.read_text(encoding="utf-8")))


def markers_of_object(found: object, marker_of_fixture: dict[str, str]) -> frozenset[str]:
    """The markers of a function or class, and those that the fixtures among a function's parameters give to it."""
    marks = getattr(found, "pytestmark", ())
    names = {mark.name for mark in (marks if isinstance(marks, (list, tuple)) else (marks,))}
    code = getattr(found, "__code__", None)
    if code is not None:
        required = code.co_varnames[: code.co_argcount - len(found.__defaults__ or ())]  # type: ignore[attr-defined]
        names.update(marker_of_fixture[name] for name in required if name in marker_of_fixture)
    return frozenset(names)
