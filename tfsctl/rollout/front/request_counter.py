"""Counts the requests of a rollout: adds what Envoy counted between two readings to the state of a front."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from tfsctl.rollout.front.envoy.admin import Statistics
from tfsctl.rollout.front.envoy.bootstrap import HISTOGRAM_S
from tfsctl.rollout.front.envoy.routes import Slot
from tfsctl.rollout.front.front_files import FrontState
from tfsctl.rollout.front.rollout_state import Rollout
from tfsctl.rollout.gate.slow_requests import Latencies


class RequestCounter:
    """Compares each reading of Envoy's statistics with the one before. Requests of old routes are not counted."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last: Statistics | None = None
        self._count_from: float | None = None  # on the monotonic clock; None: the new routes are not in use yet
        self._stable_latencies = Latencies({})

    def restart(self) -> None:
        """Count from the beginning, because there are new routes."""
        self._last = self._count_from = None

    def add(self, state: FrontState, found: Statistics) -> FrontState:
        """The state with the generation of the routes that Envoy uses, and with the new requests of its rollout."""
        before, self._last = self._last, None
        state = replace(state, applied=found.generation)
        if found.generation != state.generation:
            return state
        now = time.monotonic()
        if self._count_from is None:
            self._count_from = now + 2 * HISTOGRAM_S  # the histograms still receive requests of the old routes
        if now < self._count_from:
            return state
        self._last = found
        rollout = state.rollout
        if before is None or rollout is None or rollout.status not in ("running", "paused"):
            return state
        measured = self._with_slow_threshold(rollout, state.stable_slot, before, found)
        stable, canary = (
            found.counts(slot, rollout.slow_ms).since(before.counts(slot, rollout.slow_ms))
            for slot in (state.stable_slot, state.other_slot)
        )
        return replace(state, rollout=measured.counted(stable, canary))

    def _with_slow_threshold(self, rollout: Rollout, stable: Slot, before: Statistics, found: Statistics) -> Rollout:
        """Set the threshold of slow requests once the stable version has answered enough of them."""
        rule = rollout.plan.slow_rule
        if rule is None or rollout.slow_ms is not None:
            self._stable_latencies = Latencies({})
            return rollout
        self._stable_latencies += found.latencies(stable).since(before.latencies(stable))
        threshold_ms = self._stable_latencies.threshold_ms(rule)
        if threshold_ms is None:
            return rollout
        self._say(f"requests that take {threshold_ms:g} ms or more are slow ({rule.text} of the stable version)")
        return rollout.with_slow_threshold(threshold_ms)
