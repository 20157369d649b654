"""Measures the latency of both sides with single requests, interleaved so that both meet the same conditions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from tfsctl.rollout.comparison.intervals import SEED, Interval
from tfsctl.rollout.comparison.result import Quantile

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
RESAMPLES = 1_000
CHUNK = 50  # resamples of one call of numpy, during which no other thread runs


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
    chosen = np.random.default_rng(SEED).integers(0, len(a), (RESAMPLES, len(a)))
    shares = list(QUANTILES.values())
    ratios = [_ratios(a, b, chosen[start : start + CHUNK], shares) for start in range(0, RESAMPLES, CHUNK)]
    intervals = np.quantile(np.concatenate(ratios, axis=1), [0.025, 0.975], axis=1).T
    return [
        Quantile(name, float(of_a), float(of_b), Interval(float(low), float(high)))
        for name, of_a, of_b, (low, high) in zip(
            QUANTILES, np.quantile(a, shares), np.quantile(b, shares), intervals, strict=True
        )
    ]


def _ratios(a: np.ndarray, b: np.ndarray, chosen: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """The quantiles of B as multiples of A's for some resamples. Shape: [shares, resamples]."""
    ratios: np.ndarray = np.quantile(b[chosen], shares, axis=1) / np.quantile(a[chosen], shares, axis=1)
    return ratios
