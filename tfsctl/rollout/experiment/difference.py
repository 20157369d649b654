"""The difference of two independent samples, with an interval and a p-value: of means, of rates, and of the split.

- means: Welch's t-test
- rates (values 0 and 1): Newcombe's interval from two Wilson intervals (1998), and the pooled z-test
- the split: a z-test of the number of keys in B against its share (sample ratio mismatch)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tfsctl.errors import InvalidInput
from tfsctl.rollout.experiment.student_t import t_quantile, t_tail


@dataclass(frozen=True, slots=True)
class Difference:
    """B - A with its confidence interval, and the two-sided p-value of no difference. NaN where it is not defined."""

    value: float
    low: float
    high: float
    p_value: float


def mean_difference(a: np.ndarray, b: np.ndarray, confidence: float) -> Difference:
    """The difference of the means of two float vectors. Only the value is defined with fewer than 2 values in one."""
    if not len(a) or not len(b):
        return Difference(math.nan, math.nan, math.nan, math.nan)
    value = float(b.mean() - a.mean())
    if len(a) < 2 or len(b) < 2:
        return Difference(value, math.nan, math.nan, math.nan)
    parts = [float(one.var(ddof=1)) / len(one) for one in (a, b)]
    error = math.sqrt(sum(parts))
    if error == 0.0:
        return Difference(value, value, value, 1.0 if value == 0.0 else 0.0)
    freedom = sum(parts) ** 2 / sum(part**2 / (len(one) - 1) for part, one in zip(parts, (a, b), strict=True))
    half = t_quantile((1 + confidence) / 2, freedom) * error
    return Difference(value, value - half, value + half, 2 * t_tail(abs(value) / error, freedom))


def rate_difference(a: tuple[int, int], b: tuple[int, int], confidence: float) -> Difference:
    """The difference of two rates, each given as (successes, trials). NaN if there are no trials."""
    (hits_a, n_a), (hits_b, n_b) = a, b
    if not n_a or not n_b:
        return Difference(math.nan, math.nan, math.nan, math.nan)
    rate_a, rate_b = hits_a / n_a, hits_b / n_b
    value = rate_b - rate_a
    (low_a, high_a), (low_b, high_b) = (
        wilson_interval(hits_a, n_a, confidence),
        wilson_interval(hits_b, n_b, confidence),
    )
    low = value - math.hypot(rate_b - low_b, high_a - rate_a)
    high = value + math.hypot(high_b - rate_b, rate_a - low_a)
    pooled = (hits_a + hits_b) / (n_a + n_b)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n_a + 1 / n_b))
    return Difference(value, low, high, two_sided_p(value / error) if error else 1.0)


def wilson_interval(hits: int, trials: int, confidence: float) -> tuple[float, float]:
    """Wilson's interval of a rate."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, part = hits / trials, z * z / trials
    center = (rate + part / 2) / (1 + part)
    half = z / (1 + part) * math.sqrt(rate * (1 - rate) / trials + part / trials / 4)
    return max(0.0, center - half), min(1.0, center + half)


def split_p_value(in_a: int, in_b: int, share_b: float) -> float:
    """The p-value of these numbers of keys per arm, if each key is in B with the probability `share_b`. 1 without keys."""
    total = in_a + in_b
    error = math.sqrt(total * share_b * (1 - share_b))
    return two_sided_p((in_b - total * share_b) / error) if error else 1.0


def two_sided_p(z: float) -> float:
    """The probability of a standard normal value at least as far from 0."""
    return math.erfc(abs(z) / math.sqrt(2))


def check_confidence(confidence: float) -> None:
    """Raise InvalidInput unless the confidence level is between 0 and 1."""
    if not 0 < confidence < 1:
        raise InvalidInput(f"a confidence of {confidence:g} is not between 0 and 1", hint="--confidence 0.95")
