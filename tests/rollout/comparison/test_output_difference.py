"""Differences of one output: known values, special values, class scores, text, and what is kept."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tfsctl.rollout.comparison.output_difference import OutputDifference, Tolerance, output_kind


def difference(a: object, b: object, **tolerance: float) -> tuple[OutputDifference, list[bool], list[float]]:
    """One output of one batch."""
    first, second = np.asarray(a), np.asarray(b)
    found = OutputDifference("y", output_kind(first), Tolerance(**tolerance))
    agree, distance = found.add(first, second)
    return found, agree.tolist(), distance.tolist()


def test_numbers_differ_by_maximum_mean_share_and_rank() -> None:
    """Maximum, mean, share within the tolerance, and rank correlation."""
    found, agree, distance = difference([1.0, 2.0, 4.0], [1.0, 2.5, 4.0], atol=0.1, rtol=0.0)
    summary = found.summary()

    assert agree == [True, False, True]
    assert distance == [0.0, 5.0, 0.0]
    assert (summary["max_abs"], summary["mean_abs"]) == (0.5, pytest.approx(0.5 / 3))
    assert (summary["max_rel"], summary["mean_rel"]) == (0.25, pytest.approx(0.25 / 3))
    assert summary["within"] == pytest.approx(2 / 3)
    assert summary["rank_correlation"] == 1.0


def test_the_tolerance_is_relative_to_a() -> None:
    """|b - a| <= atol + rtol * |a|: exactly at the bound agrees."""
    assert difference([100.0], [101.0], atol=0.0, rtol=0.01)[1] == [True]
    assert difference([100.0], [101.1], atol=0.0, rtol=0.01)[1] == [False]
    assert difference([0.0], [1e-6])[1] == [True]


def test_nan_and_infinity_agree_only_with_themselves() -> None:
    """NaN agrees with NaN, infinity with itself; a change is counted and is infinitely far."""
    nan, inf = math.nan, math.inf
    found, agree, distance = difference([nan, inf, nan, inf, 1.0, inf], [nan, inf, 1.0, 2.0, nan, -inf])
    summary = found.summary()

    assert agree == [True, True, False, False, False, False]
    assert distance[2:] == [inf] * 4
    assert (summary["nan_changes"], summary["inf_changes"]) == (2, 2)
    assert summary["max_abs"] == 0.0


def test_class_scores_agree_if_the_highest_class_is_the_same() -> None:
    """Rows that add up to 1 are class scores: they agree if the highest class is the same."""
    found, agree, _ = difference([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]], [[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])

    assert found.kind == "classes"
    assert agree == [True, False]
    assert found.summary()["top_1"] == 0.5
    assert found.summary()["top_5"] == 1.0


def test_embeddings_and_independent_probabilities_are_compared_as_numbers() -> None:
    """Embeddings and independent probabilities are compared as numbers."""
    assert output_kind(np.array([[0.7, 0.7]])) == "numbers"
    assert output_kind(np.array([[0.5], [0.5]])) == "numbers"
    assert output_kind(np.array([[1, 0]])) == "numbers"


def test_strings_agree_if_they_are_equal() -> None:
    """Strings agree if they are equal."""
    found, agree, _ = difference(np.array([b"a", b"b"], object), np.array([b"a", b"c"], object))

    assert (found.kind, agree, found.summary()) == ("text", [True, False], {"kind": "text", "within": 0.5})


def test_other_shapes_never_agree() -> None:
    """An output that changed its shape is counted, and nothing fails."""
    assert difference([[1.0, 2.0]], [[1.0]])[1:] == ([False], [math.inf])


def test_only_outputs_with_one_number_per_row_are_kept() -> None:
    """16 bytes per row are kept of an output with one number per row, and none of a wider one."""
    scalars, wide = (OutputDifference("y", "numbers", Tolerance()) for _ in range(2))
    for _ in range(3):
        scalars.add(np.ones((1000, 1), np.float32), np.ones((1000, 1), np.float32))
        wide.add(np.ones((1000, 8)), np.ones((1000, 8)))
    kept = scalars.scalars()

    assert kept is not None
    assert sum(side.nbytes for side in kept) == 16 * 3000
    assert wide.scalars() is None


def test_batches_add_up() -> None:
    """The statistics do not depend on how rows are divided into batches."""
    random = np.random.default_rng(2)
    a = random.normal(size=500)
    b = a + random.normal(size=500) * 1e-5
    whole, parts = (OutputDifference("y", "numbers", Tolerance()) for _ in range(2))
    whole.add(a, b)
    for start in range(0, 500, 7):
        parts.add(a[start : start + 7], b[start : start + 7])

    assert parts.summary() == pytest.approx(whole.summary(), nan_ok=True)
