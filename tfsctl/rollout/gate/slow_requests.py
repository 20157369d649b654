"""Which requests are slow: a threshold given by the operator, or measured from the answers of the stable version.

The gate of slow requests is the sequential test of `e_value`: a slow request is a bad answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tfsctl.errors import InvalidInput

CALIBRATION_REQUESTS = 1000  # answers of the stable version from which a quantile is taken
GROWTH = 5  # the forecast is for a canary with this many times the slow requests of the stable version
_RULE = re.compile(r"(?:(?P<ratio>\d+(?:\.\d+)?)x)?p(?P<rank>\d{2}(?:\.\d)?)|(?P<time>\d+(?:\.\d+)?)\s*(?P<unit>ms|s)")


@dataclass(frozen=True, slots=True)
class SlowRule:
    """When a request is slow: after `threshold_ms`, or after `ratio` times the quantile `quantile` of stable."""

    text: str
    threshold_ms: float | None = None
    quantile: float | None = None
    ratio: float = 1.0

    @property
    def stable_rate(self) -> float:
        """The share of slow requests of the stable version that the forecast assumes."""
        return 0.01 if self.quantile is None else round(1 - self.quantile, 6)

    @property
    def canary_rate(self) -> float:
        """The share of slow requests of a canary whose detection is forecast."""
        return GROWTH * self.stable_rate


def parse_slow_rule(text: str) -> SlowRule:
    """Parse the value of --slow: `50ms`, `0.2s`, `p99` or `2xp99`. Quantiles are p90 to p99.9. Raises InvalidInput."""
    match = _RULE.fullmatch(text.strip())
    hint = "--slow 50ms, --slow p99 or --slow 2xp99"
    if match is None:
        raise InvalidInput(f"--slow {text}: neither a time nor a quantile", hint=hint)
    if match["time"]:
        threshold_ms = float(match["time"]) * (1000 if match["unit"] == "s" else 1)
        if threshold_ms < 1:
            raise InvalidInput(f"--slow {text}: the front measures whole milliseconds", hint="--slow 1ms")
        return SlowRule(text.strip(), threshold_ms=threshold_ms)
    quantile, ratio = round(float(match["rank"]) / 100, 4), float(match["ratio"] or 1)
    if quantile < 0.9 or ratio < 1:
        raise InvalidInput(f"--slow {text}: the quantile is p90 to p99.9, and its factor at least 1", hint=hint)
    return SlowRule(text.strip(), quantile=quantile, ratio=ratio)


@dataclass(frozen=True, slots=True)
class Latencies:
    """A histogram of latencies: the lower bound of each bucket in milliseconds -> its upper bound and its count.

    Envoy's buckets hold two decimal digits, and its latencies are whole milliseconds.
    """

    buckets: Mapping[float, tuple[float, int]]

    @property
    def count(self) -> int:
        """The number of latencies."""
        return sum(count for _, count in self.buckets.values())

    def __add__(self, other: Latencies) -> Latencies:
        """The latencies of both histograms."""
        found = dict(self.buckets)
        for lower, (upper, count) in other.buckets.items():
            found[lower] = (upper, count + found.get(lower, (upper, 0))[1])
        return Latencies(found)

    def since(self, earlier: Latencies) -> Latencies:
        """The latencies since `earlier`; all of them if Envoy was restarted in between."""
        before = earlier.buckets
        if any(count > self.buckets.get(lower, (0.0, 0))[1] for lower, (_, count) in before.items()):
            return self
        counts = {
            lower: (upper, count - before.get(lower, (0.0, 0))[1]) for lower, (upper, count) in self.buckets.items()
        }
        return Latencies({lower: entry for lower, entry in counts.items() if entry[1]})

    def slower_than(self, threshold_ms: float) -> int:
        """How many took at least `threshold_ms`. A bucket counts if all of it does."""
        return sum(count for lower, (_, count) in self.buckets.items() if lower >= threshold_ms)

    def threshold_ms(self, rule: SlowRule) -> float | None:
        """The threshold of a rule with a quantile, at least 1 ms; None with fewer than CALIBRATION_REQUESTS latencies."""
        total = self.count
        if rule.quantile is None or total < CALIBRATION_REQUESTS:
            return None
        wanted, seen = math.ceil(rule.quantile * total), 0
        for lower, (upper, count) in sorted(self.buckets.items()):
            seen += count
            if seen >= wanted:
                return max(1.0, math.ceil(rule.ratio * max(upper, lower + 1)))
        raise AssertionError(f"{seen} of {total} latencies")
