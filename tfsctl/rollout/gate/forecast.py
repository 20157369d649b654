"""How many requests the gate needs until it detects a broken canary: a simulation with a fixed seed.

`tfsctl canary` prints this for each step before a rollout, so that operators see what the step can detect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np
import numpy.typing as npt

from tfsctl.rollout.gate.e_value import fewest_for_breach

RUNS = 1000
MAX_BAD = 500  # bad answers after which a run counts as undetected
STABLE_RATE = 0.001
CANARY_RATE = 0.02


@dataclass(frozen=True, slots=True)
class Forecast:
    """Requests to both versions together (or samples) until a breach: in half of all cases, and in nine of ten.

    None if the gate does not detect it in that many cases.
    """

    median: int | None
    ninth_decile: int | None


@lru_cache
def forecast(
    share: float,
    *,
    alpha: float = 0.01,
    canary_rate: float = CANARY_RATE,
    stable_rate: float = STABLE_RATE,
    seed: int = 0,
) -> Forecast:
    """Simulate the gate for a canary with the share `share` of the traffic and these rates of bad answers."""
    requests = detection_times(share, alpha=alpha, canary_rate=canary_rate, stable_rate=stable_rate, seed=seed)
    return forecast_of(requests)


def detection_times(
    share: float, *, alpha: float, canary_rate: float, stable_rate: float, seed: int, runs: int = RUNS
) -> npt.NDArray[np.float64]:
    """For each simulated rollout the number of requests until the breach; infinity if there is none.

    A run stops after MAX_BAD bad answers. Shape: [runs].
    """
    requests = np.full(runs, math.inf)
    bad_rate = share * canary_rate + (1 - share) * stable_rate
    if not 0 < share < 1 or bad_rate == 0:
        return requests
    random = np.random.default_rng(seed)
    elapsed, of_canary = np.zeros(runs), np.zeros(runs, np.int64)
    running = np.arange(runs)
    for fewest in islice(fewest_for_breach(share, alpha), MAX_BAD):
        elapsed += random.geometric(bad_rate, len(running))
        of_canary += random.random(len(running)) < share * canary_rate / bad_rate
        breached = of_canary >= fewest
        requests[running[breached]] = elapsed[breached]
        running, elapsed, of_canary = running[~breached], elapsed[~breached], of_canary[~breached]
        if len(running) == 0:
            break
    return requests


def forecast_of(detected_at: npt.NDArray[np.float64]) -> Forecast:
    """The forecast from the simulated runs: for each, when the breach was detected; infinity if it was not."""
    return Forecast(_quantile(detected_at, 0.5), _quantile(detected_at, 0.9))


def _quantile(detected_at: npt.NDArray[np.float64], part: float) -> int | None:
    value = float(np.sort(detected_at)[math.ceil(part * len(detected_at)) - 1])
    return round(value) if math.isfinite(value) else None
