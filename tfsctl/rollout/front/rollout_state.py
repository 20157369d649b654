"""The state of one rollout as a value: its plan, its step, its counts, and how it ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Literal

from tfsctl.rollout.front.envoy.admin import RequestCounts
from tfsctl.rollout.gate.e_value import SequentialTest
from tfsctl.rollout.gate.slow_requests import SlowRule, parse_slow_rule

RolloutStatus = Literal["starting", "running", "paused", "promoted", "rolled_back", "aborted", "failed"]
OnBreach = Literal["rollback", "pause"]
ACTIVE: tuple[RolloutStatus, ...] = ("starting", "running", "paused")
NOTHING = RequestCounts()


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """The settings of a rollout, which the operator chose.

    - `steps`: percentages of the traffic, in order
    - `interval_s`: the least duration of a step; None: the rollout stays at its last step until `promote`
    - `min_requests`: requests to both versions that a step needs before the next one, for each step
    - `alpha`: the probability of a false alarm over the whole rollout, of all gates together
    - `slow`: when a request is slow (see `gate/slow_requests`); None: slow requests are not compared
    - `min_agreement`: the share of the shadow's requests that must agree; None: no shadow is needed
    - `min_samples`: requests that the shadow has to compare before any step ends
    - `sticky`: requests with the same value of this header go to the same version
    - `on_change`: a URL that receives each decision as a JSON document
    - `timeout_s`: how long the new version may load
    - `experiment`: the id of the A/B test that this is; None for a canary
    """

    model: str
    version: int
    steps: tuple[float, ...]
    interval_s: float | None
    min_requests: tuple[int, ...]
    alpha: float = 0.01
    on_breach: OnBreach = "rollback"
    sticky: str | None = None
    on_change: str | None = None
    timeout_s: float = 60.0
    slow: str | None = None
    experiment: str | None = None
    min_agreement: float | None = None
    min_samples: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError if there is not one number of requests for each step, and InvalidInput for a bad `slow`."""
        if not self.steps or len(self.steps) != len(self.min_requests):
            raise ValueError(f"{len(self.min_requests)} numbers of requests for {len(self.steps)} steps")
        if self.slow is not None:
            parse_slow_rule(self.slow)

    @property
    def gate_alpha(self) -> float:
        """The probability of a false alarm of each gate."""
        return alpha_per_gate(self.alpha, slow=self.slow, min_agreement=self.min_agreement)

    @property
    def slow_rule(self) -> SlowRule | None:
        """When a request is slow."""
        return None if self.slow is None else parse_slow_rule(self.slow)


def alpha_per_gate(alpha: float, *, slow: str | None, min_agreement: float | None) -> float:
    """The probability of a false alarm of each gate, with which that of all gates of a rollout together is `alpha`.

    There is always a gate of errors. `slow` adds the gate of slow requests, and `min_agreement` the gate of agreement.
    """
    return alpha / (1 + (slow is not None) + (min_agreement is not None))


@dataclass(frozen=True, slots=True)
class Rollout:
    """A rollout from `from_version` to `plan.version`.

    `stable` and `canary` are the counts of this step. `log_evidence` and `log_slow_evidence` are those of the steps that
    have ended (see `gate/e_value`). `slow_ms` is the threshold of slow requests, None until it is measured. Times are
    Unix times in seconds; `reason` says why it is paused or has ended.
    """

    plan: RolloutPlan
    from_version: int
    operator: str
    started_at: float
    status: RolloutStatus = "starting"
    step: int = 0
    step_started_at: float = 0.0
    stable: RequestCounts = NOTHING
    canary: RequestCounts = NOTHING
    total_stable: RequestCounts = NOTHING
    total_canary: RequestCounts = NOTHING
    log_evidence: float = 0.0
    log_slow_evidence: float = 0.0
    slow_ms: float | None = None
    reason: str = ""
    ended_at: float | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if the plan has no such step."""
        if not 0 <= self.step < len(self.plan.steps):
            raise ValueError(f"step {self.step} of {len(self.plan.steps)}")

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self.status in ACTIVE

    @property
    def percent(self) -> float:
        """The percentage of the traffic that the canary receives now."""
        return self.plan.steps[self.step] if self.status in ("running", "paused") else 0.0

    @property
    def test(self) -> SequentialTest:
        """The gate of errors with what was counted up to now."""
        before = SequentialTest(self.plan.gate_alpha, self.log_evidence)
        bad = self.stable.errors + self.canary.errors
        return before.with_step(bad, self.canary.errors, self.plan.steps[self.step] / 100)

    @property
    def slow_test(self) -> SequentialTest:
        """The gate of slow requests with what was counted up to now."""
        before = SequentialTest(self.plan.gate_alpha, self.log_slow_evidence)
        bad = self.stable.slow + self.canary.slow
        return before.with_step(bad, self.canary.slow, self.plan.steps[self.step] / 100)

    @property
    def has_enough_data(self) -> bool:
        """Whether this step has lasted long enough, and has had enough requests, for the next one."""
        interval = self.plan.interval_s
        if self.plan.slow is not None and self.slow_ms is None:
            return False
        if interval is None or self.status != "running" or time.time() - self.step_started_at < interval:
            return False
        wanted = self.plan.min_requests[self.step]
        return self.canary.requests > 0 and self.stable.requests + self.canary.requests >= wanted

    def counted(self, stable: RequestCounts, canary: RequestCounts) -> Rollout:
        """Add counts to this step."""
        return replace(
            self,
            stable=self.stable + stable,
            canary=self.canary + canary,
            total_stable=self.total_stable + stable,
            total_canary=self.total_canary + canary,
        )

    def at_step(self, step: int) -> Rollout:
        """Begin a step: its counts are new, and the evidence of the last one is kept."""
        is_new = self.status == "starting"
        return replace(
            self,
            status="running",
            step=step,
            step_started_at=time.time(),
            stable=NOTHING,
            canary=NOTHING,
            log_evidence=0.0 if is_new else self.test.log_evidence,
            log_slow_evidence=0.0 if is_new else self.slow_test.log_evidence,
        )

    def with_slow_threshold(self, slow_ms: float) -> Rollout:
        """Count slow requests from now on. The step begins again, so that it has enough requests with the threshold."""
        return replace(self.at_step(self.step), status=self.status, slow_ms=slow_ms)

    def ended(self, status: RolloutStatus, reason: str) -> Rollout:
        """The rollout with its end."""
        return replace(self, status=status, reason=reason, ended_at=time.time())
