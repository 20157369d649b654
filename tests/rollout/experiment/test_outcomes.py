"""Outcomes joined with the versions that answered: what is compared, and which rows cannot be joined."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfsctl.errors import InvalidInput, NotFound
from tfsctl.rollout.experiment.exposure_store import Exposure, ExposureStore, Position
from tfsctl.rollout.experiment.outcomes import join_outcomes


@pytest.fixture
def store(tmp_path: Path) -> ExposureStore:
    """Users a0 to a9 had version 1, b0 to b9 version 2, and `both` had both."""
    found = ExposureStore(tmp_path / "db")
    found.begin("t", {})
    pairs = [(1, f"a{n}") for n in range(10)] + [(2, f"b{n}") for n in range(10)] + [(1, "both"), (2, "both")]
    found.add([Exposure(version, key, False, 1.0) for version, key in pairs], Position(1, 1))
    return found


def test_every_row_that_is_not_joined_is_counted_with_its_reason(store: ExposureStore, tmp_path: Path) -> None:
    """Every row that is not joined is counted with its reason."""
    file = tmp_path / "bought.csv"
    rows = [f"a{n},{int(n < 2)}" for n in range(8)] + [f"b{n},{'true' if n < 6 else 'false'}" for n in range(10)]
    file.write_text("\n".join(["user_id,bought", *rows, "stranger,1", "both,1", ",1", "a9,"]) + "\n")
    found = join_outcomes(file, store, (1, 2), key_header="user-id")

    assert (found.is_rate, found.rows, found.unjoined.rows) == (True, 18, 4)
    unjoined = found.document()["unjoined_rows"]
    assert unjoined.pop("unknown_keys") == ["stranger"]
    assert unjoined == {"without_key": 1, "without_outcome": 1, "without_request": 1, "several_versions": 1}
    assert (found.arms[1].keys, found.arms[1].keys_without_row, found.arms[1].mean) == (8, 2, 0.25)
    assert (found.arms[2].keys, found.arms[2].keys_without_row, found.arms[2].mean) == (10, 0, 0.6)
    assert found.difference.value == pytest.approx(0.35)
    assert join_outcomes(file, store, (1, 2), missing=0.0).arms[1].mean == 0.2


def test_rows_of_one_key_are_averaged(store: ExposureStore, tmp_path: Path) -> None:
    """The key is what was assigned at random. Other columns are chosen by name."""
    file = tmp_path / "spent.csv"
    file.write_text("spent;day;who\n1,5;1;a1\n2,5;2;a1\n4,0;1;a2\n7,0;1;b1\n9,0;1;b2\n".replace(",", "."))
    found = join_outcomes(file, store, (1, 2), key_column="who", outcome_column="spent")
    assert (found.is_rate, found.rows) == (False, 5)
    assert (found.arms[1].keys, found.arms[1].mean) == (2, 3.0)
    assert found.difference.value == 5.0


@pytest.mark.parametrize(
    ("content", "options", "error", "message"),
    [
        ("user,x,y\na1,1,2\n", {}, InvalidInput, "several columns besides user: x, y"),
        ("user\na1\n", {}, InvalidInput, "only one column"),
        ("user,x\na1,lots\n", {}, InvalidInput, "row 2 of o.csv: x is 'lots', not a number"),
        ("user,x\na1,nan\n", {}, InvalidInput, "row 2 of o.csv: x is 'nan', not a number"),
        ("user,x\na1,1\n", {"outcome_column": "z"}, NotFound, "o.csv has no column 'z'"),
        ("user,x\na1,1\n", {"confidence": 1.0}, InvalidInput, "confidence of 1 is not"),
        (None, {}, NotFound, "does not exist"),
    ],
)
def test_error_of_an_unusable_outcomes_file_names_the_row_or_column(
    store: ExposureStore, tmp_path: Path, content: str | None, options: dict[str, object], error: type, message: str
) -> None:
    """The error names the file, and the row or column."""
    file = tmp_path / "o.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(error, match=message):
        join_outcomes(file, store, (1, 2), **options)  # type: ignore[arg-type]


def test_a_file_of_unknown_users_has_no_difference(store: ExposureStore, tmp_path: Path) -> None:
    """A file of strangers has no difference, and says why."""
    file = tmp_path / "o.csv"
    file.write_text("user,x\nc1,1\nc2,0\n")
    found = join_outcomes(file, store, (1, 2))
    assert (found.rows, found.unjoined.without_request) == (0, 2)
    assert found.document()["difference"] == {"value": None, "low": None, "high": None, "p_value": None}
