"""The sequential test: its formula, its false alarms, and how soon it detects a broken canary. Fixed seeds."""

from __future__ import annotations

import math
from itertools import islice

import numpy as np
import pytest

from tfsctl.rollout.gate.e_value import SequentialTest, fewest_for_breach, log_e_value
from tfsctl.rollout.gate.forecast import Forecast, detection_times, forecast


@pytest.mark.parametrize(("bad", "canary", "share"), [(1, 1, 0.1), (7, 4, 0.1), (50, 3, 0.05), (12, 12, 0.5)])
def test_the_e_value_is_the_mixture_of_likelihood_ratios(bad: int, canary: int, share: float) -> None:
    """It is near the integral over all alternatives, which scipy computes from the incomplete beta function."""
    from scipy import special

    others = bad - canary
    integral = special.beta(canary + 1, others + 1) * special.betaincc(canary + 1, others + 1, share)
    exact = math.log(integral / (1 - share)) - canary * math.log(share) - others * math.log(1 - share)

    assert log_e_value(bad, canary, share) == pytest.approx(exact, abs=0.02)


def test_the_expected_e_value_is_one_if_both_versions_are_equally_good() -> None:
    """The mean over all possible counts, weighted with their probabilities, is exactly 1."""
    share, bad = 0.1, 12
    mean = sum(
        math.comb(bad, k) * share**k * (1 - share) ** (bad - k) * math.exp(log_e_value(bad, k, share))
        for k in range(bad + 1)
    )

    assert mean == pytest.approx(1)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_to_compare_is_no_evidence(share: float) -> None:
    """Without traffic to both versions, bad answers say nothing of one of them."""
    assert log_e_value(5, 5 if share else 0, share) == 0


def test_impossible_counts_are_refused() -> None:
    """More bad answers of the canary than bad answers."""
    with pytest.raises(ValueError, match="3 of 2"):
        log_e_value(2, 3, 0.1)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.9])
def test_the_fewest_bad_answers_for_a_breach_are_those_of_the_sequential_test(share: float, alpha: float) -> None:
    """For each number of bad answers, fewer of the canary are no breach, and that many or more are one."""
    for bad, fewest in enumerate(islice(fewest_for_breach(share, alpha), 40), 1):
        breaches = [SequentialTest(alpha).with_step(bad, k, share).is_breached for k in range(bad + 1)]
        assert breaches == [k >= fewest for k in range(bad + 1)]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_false_alarms_are_at_most_alpha(share: float, alpha: float) -> None:
    """Both versions fail equally often; the test is evaluated after each of 500 bad answers."""
    requests = detection_times(share, alpha=alpha, canary_rate=0.001, stable_rate=0.001, seed=1, runs=1000)

    assert np.isfinite(requests).mean() <= alpha


def test_false_alarms_over_several_steps_are_at_most_alpha() -> None:
    """Steps of 1, 5, 25 and 50 %, each evaluated after every bad answer, multiply to one e-value."""
    random, alpha, runs, bad_per_step = np.random.default_rng(2), 0.05, 2000, 30
    before, is_alarm = np.zeros(runs), np.zeros(runs, np.bool_)
    one = SequentialTest(alpha)  # the first run, by the test itself
    for share in (0.01, 0.05, 0.25, 0.5):
        counts = range(bad_per_step + 1)
        table = np.array([[log_e_value(bad, min(k, bad), share) for k in counts] for bad in counts])
        of_canary = np.cumsum(random.random((runs, bad_per_step)) < share, axis=1)
        evidence = before[:, None] + table[np.arange(1, bad_per_step + 1), of_canary]
        expected = [one.with_step(bad + 1, int(k), share).log_evidence for bad, k in enumerate(of_canary[0])]
        assert evidence[0] == pytest.approx(expected)
        is_alarm |= (evidence >= -math.log(alpha)).any(axis=1)
        before = evidence[:, -1]
        one = one.with_step(bad_per_step, int(of_canary[0, -1]), share)

    assert is_alarm.mean() <= alpha


@pytest.mark.parametrize(
    ("share", "canary_rate", "median", "ninth_decile"),
    [(0.1, 0.1, 263, 658), (0.1, 0.02, 1753, 3771), (0.01, 0.02, 13426, 38053)],
)
def test_a_broken_canary_is_detected(share: float, canary_rate: float, median: int, ninth_decile: int) -> None:
    """Near the figures of an independent simulation at alpha = 1 % and 0.1 % errors of the stable version."""
    found = forecast(share, canary_rate=canary_rate)

    assert found.median == pytest.approx(median, rel=0.2)
    assert found.ninth_decile == pytest.approx(ninth_decile, rel=0.25)


def test_steps_that_cannot_detect_anything_say_so() -> None:
    """At 100 % there is no stable version to compare with."""
    assert forecast(1.0) == Forecast(None, None)
