"""The gate of agreement: its formula, its false alarms, and how soon it detects a version that disagrees. Fixed seeds."""

from __future__ import annotations

import math
from itertools import islice

import numpy as np
import pytest

from tfsctl.rollout.gate.agreement import AgreementTest, detection_times, forecast_rate, samples_until_breach
from tfsctl.rollout.gate.e_value import fewest_for_breach, log_e_value, log_ratios
from tfsctl.rollout.gate.forecast import Forecast


def test_whole_requests_have_the_e_value_of_the_error_gate() -> None:
    """Of 40 requests 7 disagree, and 5 % may."""
    found = AgreementTest(0.05)
    for number in range(40):
        found.add(float(number % 6 == 0))

    assert found.log_evidence == pytest.approx(log_e_value(40, 7, 0.05))


def test_another_test_continues() -> None:
    """After the collector was killed."""
    first = AgreementTest(0.1)
    for share in (1.0, 0.25, 0.0):
        first.add(share)
    second = AgreementTest(0.1, first.log_values)
    first.add(0.5)
    second.add(0.5)

    assert second.log_evidence == pytest.approx(first.log_evidence)
    assert AgreementTest(0.1).log_evidence == pytest.approx(0)


def test_the_expected_e_value_is_one_at_the_limit() -> None:
    """For requests of which a part of the rows disagrees, too: the mean over both outcomes is exactly 1."""
    limit, share = 0.1, 0.4
    probability = limit / share  # of a request with this share
    means = []
    for outcomes in ((share,), (0.0,)):
        test = AgreementTest(limit)
        for one in outcomes:
            test.add(one)
        means.append(math.exp(test.log_evidence))

    assert probability * means[0] + (1 - probability) * means[1] == pytest.approx(1)


@pytest.mark.parametrize("limit", [0.005, 0.02, 0.1])
@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_false_alarms_are_at_most_alpha(limit: float, alpha: float) -> None:
    """Exactly the allowed share disagrees; the test is evaluated after each of 200 disagreeing requests."""
    assert np.isfinite(detection_times(limit, limit, alpha=alpha, seed=1, runs=400)).mean() <= alpha


def test_false_alarms_with_requests_of_many_rows_are_at_most_alpha() -> None:
    """Rows of one request disagree together: half of the requests have 8 % of disagreeing rows on average."""
    random, limit, alpha, runs, requests = np.random.default_rng(2), 0.04, 0.05, 150, 400
    shares = np.where(random.random((runs, requests)) < 0.5, random.beta(0.4, 4.6, (runs, requests)), 0.0)
    ratios = np.exp(log_ratios(limit))
    values, highest = np.ones((runs, len(ratios))), np.zeros(runs)
    one = AgreementTest(limit)  # the first run, by the test itself
    for share in shares.T:
        values *= share[:, None] * ratios[:, 0] + (1 - share[:, None]) * ratios[:, 1]
        e_values = values.mean(axis=1)
        highest = np.maximum(highest, e_values)
        one.add(float(share[0]))
        assert e_values[0] == pytest.approx(math.exp(one.log_evidence))

    assert (highest >= 1 / alpha).mean() <= alpha


@pytest.mark.parametrize("min_agreement", [0.9, 0.98, 0.995])
def test_a_version_that_disagrees_is_detected_within_the_printed_bound(min_agreement: float) -> None:
    """Nine of ten simulated shadows end within the ninth decile that is printed."""
    limit = 1 - min_agreement
    rate = forecast_rate(limit)
    bound = samples_until_breach(limit, rate, alpha=0.01)
    median, ninth_decile = bound.median, bound.ninth_decile
    assert median is not None
    assert ninth_decile is not None
    disagreeing = np.cumsum(np.random.default_rng(3).random((100, ninth_decile)) < rate, axis=1)
    # Whole requests have the e-value of the error gate: see the first test.
    fewest = np.fromiter(islice(fewest_for_breach(limit, 0.01), ninth_decile), np.int64)

    assert 82 <= (disagreeing >= fewest).any(axis=1).sum() <= 98
    assert median < ninth_decile < 40 / limit


def test_what_cannot_be_detected() -> None:
    """An alpha that 200 disagreeing samples cannot prove."""
    assert samples_until_breach(0.4, 0.41, alpha=1e-9) == Forecast(None, None)
