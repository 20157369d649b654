"""What a comparison finds in the answers of two sides: agreement, slices, tasks, noise and the worst rows."""

from __future__ import annotations

import numpy as np
import pytest

from tfsctl.errors import InvalidInput
from tfsctl.rollout.comparison.comparison_builder import WORST_ROWS, ComparisonBuilder, Scoring
from tfsctl.rollout.comparison.output_difference import Tolerance

TOLERANCE = Tolerance()


def rows(count: int, first: int = 1) -> np.ndarray:
    """Row numbers."""
    return np.arange(first, first + count)


def test_agreement_and_worst_rows() -> None:
    """Rows that differ are counted; the worst are listed with inputs and answers, the worst first."""
    builder = ComparisonBuilder(TOLERANCE)
    x = np.arange(100.0)
    b = x.copy()
    b[[5, 7]] += [0.5, 50.0]
    builder.add(rows(100), {"x": x}, {"y": x}, {"y": b}, {})

    assert builder.parts()[""].agreement == 0.98
    assert [one.row for one in builder.worst()] == [8, 6]
    assert builder.worst()[0].inputs == {"x": 7.0}
    assert (builder.worst()[0].a, builder.worst()[0].b) == ({"y": 7.0}, {"y": 57.0})


def test_only_the_ten_worst_rows_are_kept() -> None:
    """Of many rows, and over several batches."""
    builder = ComparisonBuilder(TOLERANCE)
    for start in (0, 500):
        a = np.full(500, 1.0)
        builder.add(rows(500, start + 1), {}, {"y": a}, {"y": a + np.arange(start, start + 500)}, {})

    assert [one.row for one in builder.worst()] == list(range(1000, 1000 - WORST_ROWS, -1))


def test_all_outputs_must_agree() -> None:
    """A row agrees only if each of its outputs does."""
    builder = ComparisonBuilder(TOLERANCE)
    builder.add(
        rows(2),
        {},
        {"p": np.array([1.0, 1.0]), "q": np.array([1.0, 1.0])},
        {"p": np.array([1.0, 2.0]), "q": np.array([2.0, 1.0])},
        {},
    )

    assert builder.parts()[""].agreement == 0.0


def test_rows_on_which_a_disagrees_with_itself_are_not_counted() -> None:
    """Rows for which A disagrees with itself are not counted, and not among the worst."""
    builder = ComparisonBuilder(TOLERANCE)
    a = np.array([1.0, 2.0, 3.0])
    _, stable = builder.add(
        rows(3), {}, {"y": a}, {"y": np.array([9.0, 2.0, 9.0])}, {}, again={"y": np.array([5.0, 2.0, 3.0])}
    )

    assert stable.tolist() == [False, True, True]
    assert builder.unstable() == 1
    assert builder.parts()[""].agreement == 0.5
    assert [one.row for one in builder.worst()] == [3]


def test_slices_are_sorted_by_harm() -> None:
    """Each value of a column, and of two columns together; the most harmed first."""
    builder = ComparisonBuilder(TOLERANCE, slices=[("country",), ("country", "device")])
    a = np.zeros(4)
    labels = {"country": np.array(["CH", "CH", "DE", "DE"]), "device": np.array([b"tv", b"pc", b"tv", b"pc"], object)}
    builder.add(rows(4), {}, {"y": a}, {"y": np.array([1.0, 0.0, 0.0, 0.0])}, labels)
    parts = builder.parts()

    assert list(parts)[:3] == ["", "country=CH,device=tv", "country=CH"]
    assert (parts["country=CH"].rows, parts["country=CH"].agreement) == (2, 0.5)
    assert parts["country=DE,device=pc"].agreement == 1.0


def test_a_column_with_a_different_value_in_every_row_is_refused_as_a_slice() -> None:
    """A column with a different value in every row is no slice."""
    with pytest.raises(InvalidInput, match="more than 1,000 values"):
        ComparisonBuilder(TOLERANCE, slices=[("id",)]).add(
            rows(1001), {}, {"y": np.zeros(1001)}, {"y": np.zeros(1001)}, {"id": np.arange(1001)}
        )


@pytest.mark.parametrize(
    "target", [np.array(["0", "1", "1"]), np.array([b"no", b"yes", b"yes"], object), np.array([0, 1, 1])]
)
def test_a_target_is_a_number_or_the_name_of_a_class(target: np.ndarray) -> None:
    """A target is a number, as text too, or the name of a class."""
    builder = ComparisonBuilder(TOLERANCE, scoring=Scoring("binary", "label", "y", {"no": 0, "yes": 1}), min_rows=1)
    a, b = np.array([0.1, 0.9, 0.9]), np.array([0.1, 0.9, 0.1])
    builder.add(rows(3), {}, {"y": a}, {"y": b}, {"label": target})
    metrics = {one.name: one for one in builder.parts()[""].metrics}

    assert metrics["accuracy"].a == 1.0
    assert metrics["accuracy"].b == pytest.approx(2 / 3)


def test_error_of_a_target_that_is_not_a_number_names_column_and_value() -> None:
    """The error names the column, the value, and what to give."""
    builder = ComparisonBuilder(TOLERANCE, scoring=Scoring("binary", "label", "y", {}))
    with pytest.raises(InvalidInput, match="--target label: 'yes' is not a number") as error:
        builder.add(rows(1), {}, {"y": np.ones(1)}, {"y": np.ones(1)}, {"label": np.array(["yes"])})
    assert "--labels" in error.value.hint
