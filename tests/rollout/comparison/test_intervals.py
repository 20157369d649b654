"""The paired bootstrap and McNemar's test, against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy  # loads scipy.stats when a test uses it: each worker imports this file

from tfsctl.rollout.comparison import intervals


@pytest.mark.parametrize("rows", [200, 5_000, 60_000])
def test_the_bootstrap_interval_is_near_the_normal_one(rows: int) -> None:
    """The interval is near the normal interval of the mean. Many rows are averaged in cells first."""
    differences = np.random.default_rng(rows).exponential(size=rows)
    found = intervals.paired_bootstrap(differences)
    low, high = scipy.stats.norm.interval(0.95, differences.mean(), scipy.stats.sem(differences))

    assert found.low == pytest.approx(low, abs=0.15 * (high - low))
    assert found.high == pytest.approx(high, abs=0.15 * (high - low))
    assert intervals.paired_bootstrap(differences) == found


def test_bootstrap_agrees_with_scipy() -> None:
    """The percentile method of scipy gives the same interval, but for the random numbers."""
    differences = np.random.default_rng(1).normal(0.1, 1, 300)
    theirs = scipy.stats.bootstrap((differences,), np.mean, method="percentile", n_resamples=4000).confidence_interval
    ours = intervals.paired_bootstrap(differences)

    assert ours == pytest.approx(tuple(theirs), abs=0.02)


def test_one_row_has_no_interval() -> None:
    """One row has no interval."""
    assert all(map(math.isnan, intervals.paired_bootstrap(np.ones(1))))


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (3, 12), (12, 3), (5, 5), (400, 460)])
def test_mcnemar_is_the_two_sided_binomial_test(only_a: int, only_b: int) -> None:
    """The exact test is the two-sided binomial test."""
    expected = scipy.stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0

    assert intervals.mcnemar(only_a, only_b) == pytest.approx(expected)


def test_mcnemar_of_many_flips_is_near_the_exact_test() -> None:
    """The approximation is near the exact test."""
    assert intervals.mcnemar(6_000, 6_200) == pytest.approx(scipy.stats.binomtest(6_000, 12_200).pvalue, rel=0.01)
