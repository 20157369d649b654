"""Intervals and tests for paired samples: the paired bootstrap, and McNemar's test for flips."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2_000
MAX_CELLS = 5_000  # more rows are averaged in cells of equal size first: the bootstrap's cost stays bounded
SEED = 20_261_129
EXACT_UP_TO = 10_000  # flips: more are tested with the normal approximation


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def paired_bootstrap(differences: np.ndarray) -> Interval:
    """The 95 % percentile interval of the mean of per-row differences (B - A), a float vector.

    The resampling has a fixed seed, so the same rows give the same interval. NaN for fewer than 2 rows.
    """
    if len(differences) < 2:
        return Interval(math.nan, math.nan)
    random = np.random.default_rng(SEED)
    cells = _cells(np.asarray(differences, np.float64), random)
    means = np.empty(RESAMPLES)
    step = max(1, 500_000 // len(cells))
    for start in range(0, RESAMPLES, step):
        stop = min(start + step, RESAMPLES)
        means[start:stop] = cells[random.integers(0, len(cells), (stop - start, len(cells)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))


def _cells(differences: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """At most MAX_CELLS means of equally many rows, chosen at random: their mean has the same distribution."""
    size = -(-len(differences) // MAX_CELLS)
    if size == 1:
        return differences
    mixed = differences[random.permutation(len(differences))]
    whole = len(mixed) // size * size
    return mixed[:whole].reshape(-1, size).mean(axis=1)


def normal_interval(value: float, standard_error: float) -> Interval:
    """The 95 % interval of a normally distributed estimate."""
    from statistics import NormalDist

    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * standard_error
    return Interval(value - half, value + half)


def mcnemar(only_a: int, only_b: int) -> float:
    """The two-sided p-value of McNemar's test: `only_a` rows were right with A alone, `only_b` with B alone.

    The exact binomial test; for more than 10,000 flips the normal approximation with continuity correction.
    """
    flips = only_a + only_b
    if not flips:
        return 1.0
    if flips > EXACT_UP_TO:
        return math.erfc(max(0.0, abs(only_a - only_b) - 1) / math.sqrt(2 * flips))
    fewer = min(only_a, only_b)
    logs = [math.lgamma(flips + 1) - math.lgamma(k + 1) - math.lgamma(flips - k + 1) for k in range(fewer + 1)]
    return min(1.0, 2 * math.fsum(math.exp(one - flips * math.log(2)) for one in logs))
