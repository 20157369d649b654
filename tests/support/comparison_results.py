"""A comparison with everything in it, for the tests of its reports."""

from __future__ import annotations

import numpy as np

from tfsctl.core.compatibility import Change
from tfsctl.rollout.comparison import latency
from tfsctl.rollout.comparison.comparison_builder import ComparisonBuilder, Scoring
from tfsctl.rollout.comparison.gates import check_gates, parse_gate
from tfsctl.rollout.comparison.output_difference import Tolerance
from tfsctl.rollout.comparison.result import Comparison, SideFacts

HOSTILE = "<script>alert(1)</script>\x1b[31m\x00"


def full_comparison() -> Comparison:
    """One with everything in it, and a name that would run a script."""
    random = np.random.default_rng(3)
    builder = ComparisonBuilder(Tolerance(), scoring=Scoring("binary", "t", "y", {}), slices=[("c",)])
    target = random.integers(0, 2, 200)
    a = np.clip(target * 0.5 + random.random(200) * 0.5, 0, 1)
    builder.add(
        np.arange(200),
        {"x": np.array([HOSTILE.encode()] * 200, object)},
        {"y": a},
        {"y": np.clip(a + 0.1, 0, 1)},
        {"t": target, "c": np.array([HOSTILE, "CH"] * 100, object)},
    )
    times = random.random(100) / 1000
    found = builder.build(
        SideFacts(HOSTILE, "m", 1, None, 10, 20, 0.5),
        SideFacts("b", "m", 2, None, 30, 20, 0.5),
        changes=[Change("serving_default", "output q was added", breaks=False)],
        latency=latency.quantiles(times, times * 2),
    )
    gates = [parse_gate(text) for text in ("agreement<0.9", "p99.ratio>3", "accuracy.delta@c=CH<-0.5")]
    found.gates.extend(check_gates(gates, found.numbers(), found.counts()))
    return found
