"""Measures the latency of both sides with single requests, interleaved so that both meet the same conditions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from tfsctl.rollout.comparison.intervals import SEED, Interval
from tfsctl.rollout.comparison.result import Quantile

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
RESAMPLES = 1_000


def interleave(requests: Sequence[tuple[Callable[[], object], Callable[[], object]]]) -> tuple[np.ndarray, np.ndarray]:
    """Time pairs of requests to A and B, in seconds; the order within a pair alternates."""
    times = np.empty((len(requests), 2))
    for at, pair in enumerate(requests):
        for side in (0, 1) if at % 2 == 0 else (1, 0):
            start = time.perf_counter()
            pair[side]()
            times[at, side] = time.perf_counter() - start
    return times[:, 0], times[:, 1]


def quantiles(a: np.ndarray, b: np.ndarray) -> list[Quantile]:
    """The quantiles of both, with the bootstrap interval (95 %) of B's as a multiple of A's; pairs stay together."""
    if not len(a):
        return []
    random = np.random.default_rng(SEED)
    chosen = random.integers(0, len(a), (RESAMPLES, len(a)))
    found = []
    for name, share in QUANTILES.items():
        ratios = np.quantile(b[chosen], share, axis=1) / np.quantile(a[chosen], share, axis=1)
        low, high = np.quantile(ratios, [0.025, 0.975])
        interval = Interval(float(low), float(high))
        found.append(Quantile(name, float(np.quantile(a, share)), float(np.quantile(b, share)), interval))
    return found
