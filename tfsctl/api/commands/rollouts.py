"""`canary`, `find_rollout` and `ab`: rollouts behind a front from Python."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tfsctl.api.commands.value_checks import check_sample
from tfsctl.api.hints import python_errors
from tfsctl.errors import EngineError, InvalidInput, NotFound, NotReadyInTime

if TYPE_CHECKING:
    from tfsctl.engines.registry.tracked_server import TrackedServer
    from tfsctl.rollout.ab_test import Results
    from tfsctl.rollout.front.front_files import FrontState
    from tfsctl.rollout.front.operations import RolloutAction
    from tfsctl.rollout.gate.slow_requests import SlowRule

POLL_S = 0.2


class Rollout:
    """A rollout of a model behind a front (`tfsctl serve --front`). `tfsctl.find_rollout` and `tfsctl.canary` return it."""

    def __init__(self, front: TrackedServer) -> None:
        self._front = front

    def __repr__(self) -> str:
        found = self.status()
        return f"<tfsctl.Rollout {found['model']} {found['from']} -> {found['to']}: {found['status']}>"

    def status(self) -> dict[str, Any]:
        """The `rollout` of `tfsctl rollout status --json`. Raises NotFound if no rollout was started."""
        from tfsctl.rollout.front import operations

        with python_errors():
            return _report(self._front, operations.read_state(self._front))

    def wait(
        self, timeout_s: float, *, show: Callable[[dict[str, Any]], None] = lambda _status: None
    ) -> dict[str, Any]:
        """Wait until the rollout has ended, and return its status. `show` is called with each change of the status.

        Raises NotReadyInTime.
        """
        deadline, seen = time.monotonic() + timeout_s, None
        with python_errors():
            while (found := self.status())["ended_at"] is None:
                now = (found["status"], found["percent"])
                if now != seen:
                    seen = now
                    show(found)
                if time.monotonic() > deadline:
                    raise NotReadyInTime(
                        f"the rollout of {found['model']} is {found['status']} after {timeout_s:g} s",
                        hint="wait(timeout_s) with more seconds, or promote(), or abort()",
                    )
                time.sleep(POLL_S)
        return found

    def promote(self) -> dict[str, Any]:
        """Send all traffic to the new version. Returns the status once that is in effect.

        Raises NotFound if no rollout is running, and InvalidInput if the version is still loading.
        """
        return self._finish("promote")

    def rollback(self) -> dict[str, Any]:
        """Send all traffic to the old version, because the new one is bad. Raises NotFound if none is running."""
        return self._finish("rollback")

    def abort(self) -> dict[str, Any]:
        """Send all traffic to the old version, without a verdict. Raises NotFound if no rollout is running."""
        return self._finish("abort")

    def resume(self) -> dict[str, Any]:
        """Continue a paused rollout at its step, with new evidence. Raises NotFound if no rollout is running."""
        return self._finish("resume")

    def _finish(self, action: RolloutAction) -> dict[str, Any]:
        from tfsctl.rollout.front import operations

        with python_errors():
            return _report(self._front, operations.finish_rollout(self._front, action))


class ABTest(Rollout):
    """An A/B test of two versions behind a front. `tfsctl.ab` returns it."""

    def results(
        self,
        outcomes: str | os.PathLike[str] | None = None,
        *,
        key: str | None = None,
        outcome: str | None = None,
        missing: float | None = None,
        confidence: float = 0.95,
    ) -> Results:
        """The requests, errors and latency of both versions, during the test and after it.

        With a CSV file of `outcomes`, `results.outcomes` has the mean or rate of each version and their difference.
        `key` and `outcome` name its columns, and `missing` is the outcome of users who are not in the file.
        Raises NotFound and InvalidInput for a file that cannot be used.
        """
        from tfsctl.rollout import ab_test

        with python_errors():
            found = ab_test.read_results(self._front)
            if outcomes is None:
                return found
            return ab_test.with_outcomes(
                found,
                self._front,
                Path(outcomes),
                key_column=key,
                outcome_column=outcome,
                missing=missing,
                confidence=confidence,
            )

    def stop(self) -> Results:
        """End the test: all traffic goes to the stable version. Returns the results. Raises NotFound if none is running."""
        from tfsctl.rollout import ab_test

        with python_errors():
            ab_test.stop(self._front)
            return ab_test.read_results(self._front)


@python_errors()
def find_rollout(model: str | None = None, *, server: str | None = None) -> Rollout:
    """The rollout of a model behind a front: the running one, or the last one.

    Raises NotFound if no front serves the model, InvalidInput if several do.
    """
    from tfsctl.rollout.front import operations

    return Rollout(operations.find_front(model, server=server))


@python_errors()
def canary(
    model: str,
    *,
    version: int,
    percent: float | None = None,
    steps: Sequence[float] = (),
    interval_s: float = 60.0,
    min_requests: int | None = None,
    sticky: str | None = None,
    slow: str | None = None,
    min_agreement: float | None = None,
    sample: float = 0.1,
    on_breach: Literal["rollback", "pause"] = "rollback",
    alpha: float = 0.01,
    on_change: str | None = None,
    server: str | None = None,
    wait_timeout_s: float = 60.0,
) -> Rollout:
    """Send a part of the traffic to a new version. Returns once the first percentage is in effect.

    Give `percent`, or `steps` that increase every `interval_s` seconds if the requests were enough (`min_requests`;
    default: enough to detect 2 % errors in half of all cases). Calling it again with another percentage changes a running
    rollout. With `min_agreement`, a share from 0 to 1, a `sample` of the requests is sent to both versions to compare
    their predictions. The arguments are the options of `tfsctl canary`. Raises InvalidInput and NotFound if it cannot be started,
    EngineError if the new version does not load, and NotReadyInTime.
    """
    from tfsctl.rollout.ab_test import check_sticky
    from tfsctl.rollout.front import operations, webhook
    from tfsctl.rollout.front.rollout_state import RolloutPlan, alpha_per_gate
    from tfsctl.rollout.gate.slow_requests import parse_slow_rule
    from tfsctl.rollout.shadow.shadow_state import ShadowPlan

    percentages = tuple(steps) or ((percent,) if percent is not None else ())
    increases = list(percentages) == sorted(set(percentages)) and all(0.01 <= one <= 100 for one in percentages)
    if not percentages or not increases or (percent is not None and steps):
        raise InvalidInput("give percent=, or increasing steps= from 0.01 to 100", hint="steps=[1, 5, 25, 100]")
    if min_agreement is not None and not 0 < min_agreement < 1:
        raise InvalidInput(f"min_agreement={min_agreement:g} is not between 0 and 1", hint="min_agreement=0.98")
    check_sample(sample)
    rule = None if slow is None else parse_slow_rule(slow)
    if on_change is not None:
        webhook.check(on_change)
    front = operations.find_front(model, server=server)
    gate_alpha = alpha_per_gate(alpha, slow=slow, min_agreement=min_agreement)
    needed = [min_requests or _needed_requests(one, rule, gate_alpha) for one in percentages]
    shadow = None
    if min_agreement is not None:
        shadow = ShadowPlan(model, version, sample, min_agreement=min_agreement, timeout_s=wait_timeout_s)
    plan = RolloutPlan(
        model=model,
        version=version,
        steps=percentages,
        interval_s=interval_s if steps else None,
        min_requests=tuple(needed),
        alpha=alpha,
        on_breach=on_breach,
        sticky=None if sticky is None else check_sticky(sticky),
        on_change=on_change,
        timeout_s=wait_timeout_s,
        slow=slow,
        min_agreement=min_agreement,
        min_samples=0 if min_agreement is None else _needed_samples(min_agreement, gate_alpha),
    )
    state = operations.start_rollout(front, plan, shadow)
    if state.rollout is not None and state.rollout.status == "failed":
        raise EngineError(state.rollout.reason, hint=f"tfsctl logs {front.record.name} --tail 20")
    return Rollout(front)


@python_errors()
def ab(
    model: str,
    arms: Mapping[str | int, float] | None = None,
    *,
    sticky: str | None = None,
    on_breach: Literal["rollback", "pause"] = "rollback",
    alpha: float = 0.01,
    on_change: str | None = None,
    server: str | None = None,
    wait_timeout_s: float = 60.0,
) -> ABTest:
    """Split the traffic between two versions: `arms` are versions or labels -> weights, such as `{"stable": 50, 4: 50}`.

    One of them must be the stable version. Without `arms`, returns the running or last test. `sticky` is the header that
    names the user (default: `x-request-id`). Raises what `canary` raises.
    """
    from tfsctl.rollout import ab_test
    from tfsctl.rollout.front import operations

    front = operations.find_front(model, server=server)
    if arms is not None:
        ab_test.start(
            front,
            model,
            [f"{version}={weight:f}" for version, weight in arms.items()],
            sticky=sticky,
            alpha=alpha,
            on_breach=on_breach,
            on_change=on_change,
            timeout_s=wait_timeout_s,
        )
    return ABTest(front)


def _needed_requests(percent: float, rule: SlowRule | None, alpha: float) -> int:
    """How many requests a step needs to detect errors, and slow requests by the rule, in half of all cases."""
    from tfsctl.rollout.gate.forecast import forecast

    found = [forecast(percent / 100, alpha=alpha)]
    if rule is not None and percent < 100:
        rates = {"canary_rate": rule.canary_rate, "stable_rate": rule.stable_rate}
        found.append(forecast(percent / 100, alpha=alpha, **rates))
    return max(one.median or 1 for one in found)


def _needed_samples(min_agreement: float, alpha: float) -> int:
    """How many samples the gate of agreement needs to detect its forecast rate in half of all cases."""
    from tfsctl.rollout.gate.agreement import forecast_rate, samples_until_breach

    limit = round(1 - min_agreement, 9)
    return samples_until_breach(limit, forecast_rate(limit), alpha=alpha).median or 1


def _report(front: TrackedServer, state: FrontState) -> dict[str, Any]:
    from tfsctl.rollout.front.rollout_report import report

    found: dict[str, Any] | None = report(state, front.record.name)["rollout"]
    if found is None:
        raise NotFound(f"no rollout was started on {front.record.name}", hint="tfsctl.canary(…) starts one")
    return found
