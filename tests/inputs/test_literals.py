"""Numbers and JSON written as text."""

from __future__ import annotations

import pytest

from tfsctl.errors import InvalidInput
from tfsctl.inputs.literals import parse_json, parse_number


@pytest.mark.parametrize(
    ("word", "expected"),
    [("1", 1), ("-2.5", -2.5), ("1e3", 1000.0), ("inf", float("inf")), ("1_000", None), ("one", None), ("", None)],
)
def test_parse_number(word: str, expected: float | None) -> None:
    """Integers stay integers; Python's underscores between digits are not part of a number."""
    assert parse_number(word) == expected
    assert type(parse_number(word)) is type(expected)


def test_parse_json() -> None:
    """Text that is not JSON is None; JSON that Python cannot parse for its depth is refused."""
    assert parse_json('{"a": [1]}') == {"a": [1]}
    assert parse_json("great movie") is None
    with pytest.raises(InvalidInput, match="nested too deeply"):
        parse_json("[" * 200_000)
