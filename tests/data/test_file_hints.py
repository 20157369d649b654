"""Hints about files of rows name no option that a command, or the Python API, does not have."""

from __future__ import annotations

import re

import pytest
from hint_templates import hints

from tfsctl.api.hints import python_hint
from tfsctl.cli.registry import options_of
from tfsctl.data.file_hints import possible_hint

READERS = ("blocks", "cells", "readers/", "shaping")
OPTION = re.compile(r"--[a-z][a-z-]+")


def reader_hints() -> list[str]:
    """The hints of everything that reads rows, except those about an option that was typed (--keep)."""
    places = tuple(f"tfsctl/data/{name}" for name in READERS)
    found = {text for place, text in hints() if place.startswith(places) and not text.startswith("--keep")}
    return sorted(text for text in found if OPTION.search(text))


@pytest.mark.parametrize("command", ["predict", "compare", "skew", "warmup", "export"])
def test_hints_name_options_of_the_command(command: str) -> None:
    """`predict` has all options of the hints; the other commands get a change of the file."""
    options = options_of(command) | {"--output"}
    assert len(reader_hints()) > 10

    for hint in reader_hints():
        found = possible_hint(hint, options)
        assert found
        assert set(OPTION.findall(found)) <= options, (hint, found)
        assert (found == hint) or command != "predict"


def test_python_hints_name_no_options_of_files() -> None:
    """Hints that have a keyword argument use it."""
    for hint in reader_hints():
        assert not OPTION.search(python_hint(hint)), (hint, python_hint(hint))
    assert python_hint("--column x=area names the one to take") == 'columns={"x": "area"} names the one to take'


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (
            "--on-error skip --output FILE skips such rows, and lists them",
            "correct the row, or remove it from the file",
        ),
        ("cells with commas must be quoted; --delimiter names the character", "cells with commas must be quoted"),
        ("--encoding utf-16-le reads UTF-16 text", "iconv -f utf-16-le -t UTF-8 converts the file"),
        ("tfsctl predict --file rows.csv --on-error skip", "tfsctl predict --file rows.csv --on-error skip"),
        ("add --grpc", "add --grpc"),
        ("", ""),
    ],
)
def test_possible_alternatives_are_kept(hint: str, expected: str) -> None:
    """Hints about other things, and those that name another command, are not changed."""
    assert possible_hint(hint, ()) == expected
