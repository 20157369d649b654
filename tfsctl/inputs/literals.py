"""Values written as text, on the command line and in cells of files: numbers and JSON."""

from __future__ import annotations

import json
import math
import re

from tfsctl.core.types import Json
from tfsctl.errors import InvalidInput

# Only a number with such an exponent, or with as many digits, can be too large for a float64.
_MAY_OVERFLOW = re.compile(r"[eE]\+?0*[1-9]\d\d|\d{300}")
_MAX_QUOTED_CHARS = 60


def quoted(value: object) -> str:
    """A value for a message, cut to a readable length."""
    written = repr(value)
    return written if len(written) <= _MAX_QUOTED_CHARS else f"{written[:_MAX_QUOTED_CHARS]}…"


class RepeatedName(InvalidInput):
    """A JSON object has the same name twice."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the JSON has {name!r} twice")
        self.name = name


def parse_number(word: str) -> int | float | None:
    """The number that a word is, an int if possible; None if it is not a number.

    Accepts what Python's `int` and `float` accept (`1e3`, `nan`, `-inf`) except underscores between digits. Raises
    InvalidInput for a finite number that is too large for a float64, such as `1e400`.
    """
    if "_" in word:
        return None
    try:
        return int(word)
    except ValueError:
        pass
    try:
        return _finite_float(word)
    except ValueError:
        return None


def parse_integer(word: str) -> int | float | None:
    """Like `parse_number`, for an integer input: a whole number written with `.0` or an exponent is an exact int."""
    number = parse_number(word)
    if not isinstance(number, float) or not number.is_integer():
        return number
    from decimal import Decimal

    exact = Decimal(word.strip())
    return int(exact) if exact == exact.to_integral_value() else number


def parse_complex(word: str) -> complex | None:
    """The complex number of a word such as `1+2j`, `-3j` or `2.5`; None if it is not one."""
    try:
        return None if "_" in word else complex(word.strip().replace("i", "j") if word.strip()[-1:] == "i" else word)
    except ValueError:
        return None


def parse_json(text: str) -> Json:
    """The value of a JSON text; None if it is not JSON.

    Raises InvalidInput if it is nested too deeply, has a name twice, or holds a number that is too large for a float64.
    """
    try:
        return load_json(text, unique_names=True)
    except ValueError:
        return None
    except RecursionError as error:
        raise InvalidInput("the JSON is nested too deeply") from error


def load_json(text: str | bytes, *, unique_names: bool = False) -> Json:
    """The value of a JSON text, which may contain NaN and Infinity.

    Raises ValueError if it is not JSON or not UTF-8, RecursionError if it is nested too deeply, and InvalidInput if it
    holds a number that is too large for a float64. With `unique_names`, RepeatedName if an object has a name twice.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    return json.loads(
        text,
        parse_float=_finite_float if _MAY_OVERFLOW.search(text) else None,
        object_pairs_hook=_unique if unique_names else None,
    )


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """The object of these pairs. Raises RepeatedName if two have the same name."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise RepeatedName(next(name for name in names if names.count(name) > 1))
    return found


def _finite_float(word: str) -> float:
    """The float of a literal. Raises InvalidInput if a finite literal would become Infinity."""
    number = float(word)
    if math.isinf(number) and any(map(str.isdigit, word)):
        raise InvalidInput(f"{word.strip()[:40]} is too large for a number")
    return number
