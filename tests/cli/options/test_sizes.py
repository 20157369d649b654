"""Sizes as options take them."""

from __future__ import annotations

import pytest

from tfsctl.cli.options.sizes import parse_size
from tfsctl.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("1000", 1000),
        ("64k", 65536),
        ("1.5M", 3 << 19),
        ("2 GB", 2 << 30),
        ("1gib", 1 << 30),
        ("1t", 1 << 40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    """A unit is a power of 1024, in either case."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "m", "1,5m", "1x", "0.1", "1e9", "inf", "9" * 40])
def test_no_sizes(text: str) -> None:
    """Everything else is refused."""
    with pytest.raises(InvalidInput, match="is not a size"):
        parse_size(text)
