"""Values written as text, on the command line and in cells of files: numbers and JSON."""

from __future__ import annotations

import json

from tfsctl.core.types import Json
from tfsctl.errors import InvalidInput


def parse_number(word: str) -> int | float | None:
    """The number that a word is, an int if possible; None if it is not a number.

    Accepts what Python's `int` and `float` accept (`1e3`, `nan`, `-inf`) except underscores between digits.
    """
    if "_" in word:
        return None
    for parse in (int, float):
        try:
            return parse(word)
        except ValueError:
            continue
    return None


def parse_json(text: str) -> Json:
    """The value of a JSON text; None if it is not JSON. Raises InvalidInput if it is nested too deeply."""
    try:
        return json.loads(text)
    except ValueError:
        return None
    except RecursionError as error:
        raise InvalidInput("the JSON is nested too deeply") from error
