"""Differences of two arms, against values from textbooks and R."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tfsctl.errors import InvalidInput
from tfsctl.rollout.experiment.difference import (
    check_confidence,
    mean_difference,
    rate_difference,
    split_p_value,
)
from tfsctl.rollout.experiment.student_t import t_quantile, t_tail


@pytest.mark.parametrize(
    ("probability", "freedom", "value"),
    [(0.975, 1, 12.706205), (0.975, 10, 2.228139), (0.95, 5, 2.015048), (0.995, 2.5, 7.163728), (0.975, 1e7, 1.959964)],
)
def test_quantiles_of_t_are_those_of_r(probability: float, freedom: float, value: float) -> None:
    """qt() of R."""
    assert t_quantile(probability, freedom) == pytest.approx(value, rel=1e-5)
    assert t_tail(value, freedom) == pytest.approx(1 - probability, rel=1e-4)


def test_the_difference_of_means_is_that_of_r() -> None:
    """t.test(b, a) of R."""
    found = mean_difference(np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 4, 6, 8, 10]), 0.95)
    assert (found.value, found.low, found.high) == pytest.approx((3.0, -0.8877416, 6.8877416))
    assert found.p_value == pytest.approx(0.1075312)
    assert math.isnan(mean_difference(np.array([1.0]), np.array([2.0, 3.0]), 0.95).p_value)
    assert math.isnan(mean_difference(np.array([]), np.array([2.0, 3.0]), 0.95).value)
    assert mean_difference(np.array([1.0, 1.0]), np.array([1.0, 1.0]), 0.95).p_value == 1.0


def test_the_difference_of_rates_is_that_of_newcombe() -> None:
    """Example (a) of Newcombe (1998): 56 of 70 and 48 of 80."""
    found = rate_difference((48, 80), (56, 70), 0.95)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    assert found.p_value == pytest.approx(0.008045, abs=1e-5)
    assert rate_difference((0, 10), (0, 10), 0.95).p_value == 1.0
    assert math.isnan(rate_difference((0, 0), (1, 10), 0.95).value)


def test_intervals_cover_the_truth() -> None:
    """Of 400 simulated A/B tests of equal versions, about 5 % exclude 0. The seed is fixed."""
    random = np.random.default_rng(17)
    misses = [0, 0]
    for _ in range(400):
        a, b = random.exponential(1.0, (2, 300))
        found = mean_difference(a, b, 0.95)
        misses[0] += not found.low <= 0 <= found.high
        hits_a, hits_b = random.binomial(200, 0.1, 2)
        rate = rate_difference((int(hits_a), 200), (int(hits_b), 200), 0.95)
        misses[1] += not rate.low <= 0 <= rate.high
    assert all(8 <= one <= 34 for one in misses)


def test_an_unlikely_split_has_a_small_p_value() -> None:
    """Of 1,000 users half should be in each arm."""
    assert split_p_value(510, 490, 0.5) > 0.5
    assert split_p_value(600, 400, 0.5) < 1e-9
    assert split_p_value(0, 0, 0.5) == 1.0
    with pytest.raises(InvalidInput, match="confidence of 95"):
        check_confidence(95)
