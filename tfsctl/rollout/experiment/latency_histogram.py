"""A histogram of latencies with logarithmic buckets. Percentiles are exact to 2.5 %."""

from __future__ import annotations

import math
from collections.abc import Mapping

_STEP = math.log(1.05)


def bucket(microseconds: float) -> int:
    """The number of the bucket of a latency."""
    return int(math.log(max(microseconds, 1.0)) / _STEP)


def percentile_ms(counts: Mapping[int, int], share: float) -> float | None:
    """The latency in milliseconds that a share (0 to 1) of the requests does not exceed; None without requests.

    `counts` are the requests in each bucket.
    """
    total = sum(counts.values())
    seen = 0
    for number in sorted(counts):
        seen += counts[number]
        if seen >= share * total:
            return math.exp((number + 0.5) * _STEP) / 1000
    return None
