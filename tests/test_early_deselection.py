"""Files and functions are left out before they are collected only if `-m` deselects all of their tests anyway.

conftest.py compares what this finds with the markers of each test that is collected.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from early_deselection import markers_of_file, markers_of_object, never_selected

UNIT = "not (server or tensorflow)"


@pytest.mark.parametrize(
    ("expression", "markers", "never"),
    [
        (UNIT, {"server"}, True),
        (UNIT, {"long", "tensorflow"}, True),
        (UNIT, {"long"}, False),
        (UNIT, set(), False),
        ("docs and not docker", {"docker"}, True),
        ("docs and not docker", {"server"}, False),  # it may be marked `docs`, too
        ("server or docs", {"server"}, False),
        ("not server or docs", {"server"}, False),
        ("not timeout(1) and not timeout(func=2)", {"timeout"}, False),
        ("", {"server"}, False),
    ],
)
def test_expressions_that_no_further_marker_makes_true(expression: str, markers: set[str], never: bool) -> None:
    assert never_selected(expression, frozenset(markers)) is never


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("pytestmark = pytest.mark.server", {"server"}),
        ("pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]", {"docker"}),
        ("pytestmark = pytest.mark.server if X else pytest.mark.long", set()),
        ("    pytestmark = pytest.mark.server", set()),
        ("import pytest", set()),
    ],
)
def test_markers_are_read_without_an_import(line: str, found: set[str], tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(f'"""A file."""\n\n{line}\n\nraise AssertionError\n')

    assert markers_of_file(tmp_path / "test_x.py") == found


def test_fixtures_give_markers() -> None:
    """A parameter with a default is no fixture."""

    @pytest.mark.long
    def with_fixture(served: object) -> None: ...

    def with_default(served: object = None) -> None: ...

    assert markers_of_object(with_fixture, {"served": "server"}) == {"long", "server"}
    assert markers_of_object(with_default, {"served": "server"}) == set()
    assert markers_of_object("no function", {"served": "server"}) == set()
