"""The gate of slow requests: its threshold, its false alarms, and how soon it detects a slow canary. Fixed seeds."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from tfsctl.errors import InvalidInput
from tfsctl.rollout.front.envoy.admin import RequestCounts
from tfsctl.rollout.gate.e_value import fewest_for_breach
from tfsctl.rollout.gate.forecast import forecast
from tfsctl.rollout.gate.slow_requests import Latencies, SlowRule, parse_slow_rule


def histogram(values_ms: np.ndarray) -> Latencies:
    """What Envoy shows: whole milliseconds, in buckets of two decimal digits."""
    buckets: dict[float, tuple[float, int]] = {}
    for value, count in zip(*np.unique(values_ms.astype(int), return_counts=True), strict=True):
        width = 0.0 if value == 0 else 10 ** (len(str(value)) - 2)
        lower = value // width * width if width else 0.0
        buckets[lower] = (lower + width, buckets.get(lower, (0.0, 0))[1] + count)
    return Latencies(buckets)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("50ms", SlowRule("50ms", threshold_ms=50)),
        ("0.2s", SlowRule("0.2s", threshold_ms=200)),
        ("p99", SlowRule("p99", quantile=0.99)),
        ("2xp99.9", SlowRule("2xp99.9", quantile=0.999, ratio=2)),
    ],
)
def test_a_rule_is_a_time_or_a_quantile(text: str, rule: SlowRule) -> None:
    """A time, or a quantile of the stable version."""
    assert parse_slow_rule(text) == rule


@pytest.mark.parametrize("text", ["", "fast", "50", "0.5ms", "p5", "p50", "0.5xp99", "p100", "-1ms"])
def test_the_error_of_a_wrong_rule_names_the_option(text: str) -> None:
    """The error names the option."""
    with pytest.raises(InvalidInput, match="--slow"):
        parse_slow_rule(text)


def test_the_threshold_is_a_quantile_of_stable() -> None:
    """About 1 % of requests are at least as slow, whatever the buckets are, and none with twice the threshold."""
    values = np.random.default_rng(1).uniform(0, 300, 5000)
    found = histogram(values)
    threshold_ms = found.threshold_ms(parse_slow_rule("p99"))

    assert threshold_ms is not None
    assert threshold_ms == pytest.approx(297, abs=4)
    assert 0 <= found.slower_than(threshold_ms) <= 50
    assert found.threshold_ms(parse_slow_rule("2xp99")) == 2 * threshold_ms
    assert found.slower_than(2 * threshold_ms) == 0


def test_the_threshold_of_quick_models_and_of_few_requests() -> None:
    """Answers within a millisecond have a threshold of 1 ms; 999 answers have none yet."""
    assert histogram(np.zeros(1000)).threshold_ms(parse_slow_rule("p99")) == 1
    assert histogram(np.zeros(999)).threshold_ms(parse_slow_rule("p99")) is None


def test_the_difference_of_histograms_begins_at_0_after_a_restart_of_envoy() -> None:
    """A restart of Envoy begins at 0 again."""
    early, late = histogram(np.array([3, 3, 20])), histogram(np.array([3, 3, 3, 20, 150]))

    assert late.since(early).slower_than(1) == 2
    assert early.since(late) == early
    assert (early + late).count == 8
    assert RequestCounts(9, 0, 3).since(RequestCounts(5, 0, 4)) == RequestCounts(4, 0, 0)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_false_alarms_are_at_most_alpha(share: float) -> None:
    """Equal versions with 1 % of slow requests, measured and then compared over 20,000 requests, every 50 requests."""
    random, alpha, runs, alarms = np.random.default_rng(3), 0.05, 100, 0
    fewest = np.array([np.iinfo(np.int64).max, *islice(fewest_for_breach(share, alpha), 1000)])  # by slow requests
    for _ in range(runs):
        threshold_ms = histogram(random.lognormal(2, 1, 1000)).threshold_ms(parse_slow_rule("p99"))
        assert threshold_ms is not None
        is_slow = random.lognormal(2, 1, 20_000).astype(int) >= threshold_ms
        is_canary = random.random(20_000) < share
        slow = np.cumsum(is_slow)[49::50]
        of_canary = np.cumsum(is_slow & is_canary)[49::50]
        alarms += bool((of_canary >= fewest[slow]).any())

    assert alarms / runs <= alpha


def test_a_slow_canary_is_detected_within_the_printed_bound() -> None:
    """5 % instead of 1 % of slow requests: nine of ten simulated rollouts end within the ninth decile that is printed."""
    rule = parse_slow_rule("p99")
    found = forecast(0.1, canary_rate=rule.canary_rate, stable_rate=rule.stable_rate)
    assert found.median is not None
    assert found.ninth_decile is not None
    fewest = np.fromiter(islice(fewest_for_breach(0.1, 0.01), 1000), np.int64)
    random, detected = np.random.default_rng(4), 0
    for _ in range(100):
        is_canary = random.random(found.ninth_decile) < 0.1
        is_slow = random.random(found.ninth_decile) < np.where(is_canary, rule.canary_rate, rule.stable_rate)
        at = np.flatnonzero(is_slow)
        detected += bool((np.cumsum(is_canary[at]) >= fewest[: len(at)]).any())

    assert 82 <= detected <= 98
    assert found.median == pytest.approx(1600, rel=0.3)
