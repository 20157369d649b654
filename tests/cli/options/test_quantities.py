"""Shares, durations and sizes as options take them."""

from __future__ import annotations

import pytest

from tfsctl.cli.options.quantities import parse_duration, parse_share, parse_size
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
def test_a_unit_of_a_size_is_a_power_of_1024(text: str, size: int) -> None:
    """In either case of its letters."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "m", "1,5m", "1x", "0.1", "1e9", "inf", "9" * 40])
def test_text_that_is_no_size_is_refused(text: str) -> None:
    """Among it: zero, a sign, a decimal comma, an exponent, and more digits than a size can have."""
    with pytest.raises(InvalidInput, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(("text", "share"), [("10%", 0.1), ("0.1", 0.1), ("100 %", 1.0), ("1", 1.0)])
def test_a_share_is_a_percentage_or_a_fraction(text: str, share: float) -> None:
    """Up to all."""
    assert parse_share(text, "--sample") == share


@pytest.mark.parametrize("text", ["0", "101%", "ten", "-1"])
def test_text_that_is_no_share_is_refused(text: str) -> None:
    """Among it: a share of nothing, and one of more than all."""
    with pytest.raises(InvalidInput, match=r"--sample .*: not a share"):
        parse_share(text, "--sample")


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60.0), ("5m", 300.0), ("1.5h", 5400.0), ("2", 2.0), ("100ms", 0.1)]
)
def test_a_duration_without_a_unit_is_in_seconds(text: str, seconds: float) -> None:
    """The units are ms, s, m, h and d."""
    assert parse_duration(text, "--for") == seconds


@pytest.mark.parametrize("text", ["0s", "soon", "5 weeks"])
def test_text_that_is_no_duration_is_refused(text: str) -> None:
    """Among it: no time at all, and a unit that is not known."""
    with pytest.raises(InvalidInput, match=r"--for .*: not a duration"):
        parse_duration(text, "--for")
