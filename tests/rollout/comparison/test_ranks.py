"""Ranks, correlation and AUC are those of scipy and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy  # loads scipy.stats when a test uses it: each worker imports this file

from tfsctl.rollout.comparison import ranks

RANDOM = np.random.default_rng(7)
SCORES = [
    RANDOM.normal(size=1000),
    RANDOM.integers(0, 5, 500).astype(float),
    np.array([1.0, 1.0, 2.0]),
    RANDOM.normal(size=40).round(1),
]


@pytest.mark.parametrize("values", SCORES, ids=range(len(SCORES)))
def test_ties_share_their_mean_rank(values: np.ndarray) -> None:
    """Ties share their mean rank."""
    np.testing.assert_allclose(ranks.average_ranks(values), scipy.stats.rankdata(values))


@pytest.mark.parametrize("values", SCORES, ids=range(len(SCORES)))
def test_rank_correlation_is_spearmans_with_ties(values: np.ndarray) -> None:
    """Spearman's coefficient, ties included."""
    other = values + np.random.default_rng(3).normal(size=len(values)).round(1)

    assert ranks.spearman(values, other) == pytest.approx(scipy.stats.spearmanr(values, other).statistic)


def test_rank_correlation_of_a_constant_is_nan() -> None:
    """Nothing is divided by zero."""
    assert math.isnan(ranks.spearman(np.ones(5), np.arange(5.0)))
    assert math.isnan(ranks.spearman(np.ones(1), np.ones(1)))
    assert len(ranks.average_ranks(np.empty(0))) == 0


@pytest.mark.parametrize("digits", [1, 8])
def test_auc_is_the_area_under_the_roc_curve_with_ties(digits: int) -> None:
    """The area under the ROC curve, with and without ties."""
    from sklearn.metrics import roc_auc_score  # takes a second, which a worker without this test saves

    random = np.random.default_rng(5)
    target = random.random(2000) < 0.3
    score = (random.normal(size=2000) + target).round(digits)

    assert ranks.roc_auc(target, score) == pytest.approx(roc_auc_score(target, score))
    assert math.isnan(ranks.roc_auc(np.ones(4, bool), np.arange(4.0)))


def test_standard_error_of_an_auc_difference_is_near_the_spread_of_resamples() -> None:
    """DeLong's standard error is near the spread of the differences of many resamples."""
    random = np.random.default_rng(11)
    target = random.random(400) < 0.4
    a = random.normal(size=400) + target
    b = a + random.normal(size=400)
    resamples = random.integers(0, 400, (600, 400))
    spread = np.std([ranks.roc_auc(target[one], b[one]) - ranks.roc_auc(target[one], a[one]) for one in resamples])

    assert ranks.roc_auc_difference_error(target, a, b) == pytest.approx(spread, rel=0.12)
