"""Numbers written as text: on the command line and in cells of files."""

from __future__ import annotations


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
