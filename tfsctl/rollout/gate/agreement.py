"""The gate of agreement: do the predictions of two versions disagree on more than an allowed share of the requests?

Each sample is a number from 0 to 1: the share of the rows of one request on which the versions disagree. If its expected
value is at most `limit`, then for each alternative p > limit

    x p / limit + (1 - x) (1 - p) / (1 - limit)

has an expected value of at most 1, whatever the distribution of x is. So have the product over independent samples and
the mean over many alternatives: it is an e-value as in `e_value`, and equals that one if each x is 0 or 1.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tfsctl.rollout.gate.e_value import ALTERNATIVES, log_e_value, log_ratios
from tfsctl.rollout.gate.forecast import Forecast, forecast_of

GROWTH = 5  # the forecast is for a version that disagrees this many times as often as is allowed
RUNS = 1000
SEED = 0
MAX_DISAGREEING = 200  # disagreeing samples after which a simulated run counts as undetected


class AgreementTest:
    """The evidence that two versions disagree on more than `limit` (0 < limit < 1) of the requests."""

    def __init__(self, limit: float, log_values: Sequence[float] = ()) -> None:
        """Continue with the `log_values` of an earlier test, if there are any."""
        self.limit = limit
        self._logs = np.array(log_values) if log_values else np.zeros(ALTERNATIVES)
        self._ratios = np.exp(np.array(log_ratios(limit)))  # [alternatives, 2]: for a disagreeing and an agreeing row

    def add(self, disagreeing: float) -> None:
        """Add a sample: the share of its rows that disagree."""
        self._logs += np.log(disagreeing * self._ratios[:, 0] + (1 - disagreeing) * self._ratios[:, 1])

    @property
    def log_evidence(self) -> float:
        """The logarithm of the e-value. A breach is at log(1 / alpha)."""
        return float(np.logaddexp.reduce(self._logs)) - math.log(ALTERNATIVES)

    @property
    def log_values(self) -> list[float]:
        """The logarithm of the likelihood ratio for each alternative, with which another test can continue."""
        return [float(value) for value in self._logs]


def forecast_rate(limit: float) -> float:
    """The share of disagreeing requests whose detection is forecast."""
    return min(GROWTH * limit, (1 + limit) / 2)


@lru_cache
def samples_until_breach(limit: float, rate: float, *, alpha: float) -> Forecast:
    """How many samples the gate needs if `rate` of them disagree: a simulation with a fixed seed."""
    return forecast_of(detection_times(limit, rate, alpha=alpha, seed=SEED))


def detection_times(limit: float, rate: float, *, alpha: float, seed: int, runs: int = RUNS) -> npt.NDArray[np.float64]:
    """For each simulated run the number of samples until the breach; infinity if there is none. Shape: [runs].

    Evidence grows at disagreeing samples only, so the simulation goes from one to the next. The more samples agree, the
    less evidence there is.
    """
    samples = np.full(runs, math.inf)
    random = np.random.default_rng(seed)
    elapsed = np.zeros(runs)
    running = np.arange(runs)
    for disagreeing in range(1, MAX_DISAGREEING + 1):
        elapsed += random.geometric(rate, len(running))
        breached = elapsed <= _most_samples(disagreeing, limit, alpha)
        samples[running[breached]] = elapsed[breached]
        running, elapsed = running[~breached], elapsed[~breached]
        if len(running) == 0:
            break
    return samples


def _most_samples(disagreeing: int, limit: float, alpha: float) -> int:
    """The largest number of samples that is a breach if `disagreeing` of them disagree.

    `disagreeing - 1` if no number of samples is a breach.
    """
    candidates = range(disagreeing, math.ceil(disagreeing / limit) + 1)  # among more, they are at most the limit
    found = bisect_left(
        candidates, True, key=lambda samples: log_e_value(samples, disagreeing, limit) < -math.log(alpha)
    )
    return disagreeing - 1 + found
