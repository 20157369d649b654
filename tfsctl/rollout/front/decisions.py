"""The transitions of a front, as functions from one state to the next: commands, gates, and the steps of a rollout."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.state_document import from_document
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.rollout.front import shadow_decisions
from tfsctl.rollout.front.envoy.routes import Canary, Mirror, Routing
from tfsctl.rollout.front.front_files import FrontState
from tfsctl.rollout.front.rollout_report import e_value
from tfsctl.rollout.front.rollout_state import Rollout, RolloutPlan
from tfsctl.rollout.shadow.shadow_state import Shadow, ShadowPlan

MAX_EXITS = 3  # a canary whose server has ended this often is broken


def carry_out(state: FrontState, spec: LaunchSpec, command: Mapping[str, Any]) -> FrontState:
    """The state after a command of an operator. Raises InvalidInput or NotFound if it cannot be carried out."""
    if command["action"] == "canary":
        return _start_rollout(state, spec, command)
    if command["action"] == "record":
        return _set_recording(state, spec, command)
    if command["action"] == "shadow":
        return shadow_decisions.start_shadow(state, spec, command)
    if command["action"] == "stop_shadow":
        return shadow_decisions.stop_shadow(state, spec, command)
    rollout = state.rollout
    if command["action"] == "remove":
        return state  # it was checked that no rollout is running
    if rollout is None or not rollout.is_active:
        raise NotFound(
            f"no rollout of {spec.name} is running",
            hint=f"tfsctl canary {spec.config.models[0].name} --version N --percent 10 starts one",
        )
    by = f"by {command['operator']}"
    if command["action"] == "promote":
        if rollout.status == "starting":
            raise InvalidInput(f"version {rollout.plan.version} of {rollout.plan.model} is still loading")
        return promoted(state, rollout, by)
    if command["action"] == "resume":
        if rollout.plan.min_agreement is not None and state.shadow is not None:
            state = replace(state, shadow=state.shadow.begun_again())
        return replace(state, rollout=replace(rollout, status="starting", reason="").at_step(rollout.step))
    status = "aborted" if command["action"] == "abort" else "rolled_back"
    return replace(state, rollout=rollout.ended(status, by))  # type: ignore[arg-type] # one of two literals


def _start_rollout(state: FrontState, spec: LaunchSpec, command: Mapping[str, Any]) -> FrontState:
    """Start a rollout, or give the running one of the same version another plan."""
    plan = from_document(RolloutPlan, command["plan"])
    if state.rollout is not None and state.rollout.is_active:
        return _with_plan(state, state.rollout, plan, spec, command)
    shadow_decisions.check_version(state, spec, plan.model, plan.version)
    shadow = state.shadow
    if shadow is None or not shadow.is_active:
        state = shadow_decisions.with_new_server(state, plan.model, plan.version)
    elif (shadow.plan.model, shadow.plan.version) != (plan.model, plan.version):
        raise shadow_decisions.another_shadow_runs(shadow, spec)
    if plan.min_agreement is not None:
        state = _with_own_shadow(state, command)
    stable = state.versions[plan.model]
    rollout = Rollout(plan, stable, command["operator"], time.time(), slow_ms=_fixed_threshold(plan))
    started = replace(state, rollout=rollout)
    shadow_decisions.refuse_recorded_copies(started, spec)
    return started


def _with_plan(
    state: FrontState, running: Rollout, plan: RolloutPlan, spec: LaunchSpec, command: Mapping[str, Any]
) -> FrontState:
    """The state whose running rollout begins the first step of a new plan. Raises InvalidInput if it is another rollout."""
    if running.plan.experiment is not None and running.plan.experiment != plan.experiment:
        raise InvalidInput(
            f"an A/B test of versions {running.from_version} and {running.plan.version} of {running.plan.model} is "
            f"running (started by {running.operator})",
            hint=f"tfsctl ab {running.plan.model} --server {spec.name} --stop",
        )
    is_same = (running.plan.model, running.plan.version, running.plan.experiment) == (
        plan.model,
        plan.version,
        plan.experiment,
    )
    if not is_same or running.status == "starting":
        raise shadow_decisions.another_rollout_runs(running)
    keeps_samples = plan.min_agreement in (None, running.plan.min_agreement) and running.status != "paused"
    if running.status == "paused":
        running = replace(running, status="starting", reason="")  # `at_step` then drops its evidence
    restarted = running.at_step(0)  # before the plan changes: the evidence depends on the old percentage
    slow_ms = running.slow_ms if plan.slow == running.plan.slow else _fixed_threshold(plan)
    if plan.min_agreement is not None and not keeps_samples:
        state = _with_own_shadow(state, command)
    changed = replace(state, rollout=replace(restarted, plan=plan, slow_ms=slow_ms))
    shadow_decisions.refuse_recorded_copies(changed, spec)
    return changed


def _with_own_shadow(state: FrontState, command: Mapping[str, Any]) -> FrontState:
    """The state with the shadow that a canary with the gate of agreement needs."""
    return shadow_decisions.with_shadow(state, from_document(ShadowPlan, command["shadow"]), command["operator"])


def _set_recording(state: FrontState, spec: LaunchSpec, command: Mapping[str, Any]) -> FrontState:
    """Begin to record the requests of a model, or end it if `logging` is None."""
    model, logging = command["model"], command["logging"]
    running = state.recordings.get(model)
    if logging is not None and running is not None:
        raise InvalidInput(
            f"the requests of {model} are already being recorded, to {running['filename_prefix']}*",
            hint=f"tfsctl record {spec.name} --model {model} --stop",
        )
    if logging is not None and shadow_decisions.has_canary_with_shadow(state):
        raise InvalidInput(f"the copies of the running shadow of {model} would be recorded, too")
    others = {name: one for name, one in state.recordings.items() if name != model}
    return replace(state, recordings=others if logging is None else {**others, model: logging})


def _fixed_threshold(plan: RolloutPlan) -> float | None:
    """The threshold of slow requests if the operator gave it as a time."""
    return None if plan.slow_rule is None else plan.slow_rule.threshold_ms


def next_state(state: FrontState, rollout: Rollout) -> FrontState:
    """The state after the gate and the conditions of the step were checked."""
    if rollout.status == "running" and (reason := _breach(rollout) or _disagreement(rollout, state.shadow)):
        return on_breach(state, rollout, reason)
    if not rollout.has_enough_data or _samples(state.shadow) < rollout.plan.min_samples:
        return state
    if rollout.step + 1 < len(rollout.plan.steps):
        return replace(state, rollout=rollout.at_step(rollout.step + 1))
    if rollout.percent == 100:
        return promoted(state, rollout, "all steps have passed")
    return state  # the last step lasts until `promote`


def _breach(rollout: Rollout) -> str:
    """What is worse about the canary; empty if nothing is proved."""
    stable, canary = rollout.total_stable, rollout.total_canary
    if rollout.test.is_breached:
        return (
            f"more errors than stable: {canary.errors} of {canary.requests} requests, "
            f"stable {stable.errors} of {stable.requests} (e-value {e_value(rollout.test.log_evidence):.4g})"
        )
    if rollout.slow_test.is_breached:
        return (
            f"more slow requests than stable: {canary.slow} of {canary.requests} took {rollout.slow_ms:g} ms or more, "
            f"stable {stable.slow} of {stable.requests} (e-value {e_value(rollout.slow_test.log_evidence):.4g})"
        )
    return ""


def _samples(shadow: Shadow | None) -> int:
    """How many requests the shadow has compared."""
    return 0 if shadow is None or shadow.progress is None else shadow.progress.samples


def _disagreement(rollout: Rollout, shadow: Shadow | None) -> str:
    """How the canary disagrees with the stable version; empty if nothing is proved."""
    if rollout.plan.min_agreement is None or shadow is None or shadow.progress is None:
        return ""
    found = shadow.progress
    if found.log_evidence < -math.log(rollout.plan.gate_alpha):
        return ""
    agreement = 1 - found.disagreeing / found.samples
    return (
        f"too few predictions agree with stable: {agreement:.2%} of {found.samples} shadowed requests, and the "
        f"minimum is {rollout.plan.min_agreement:.4g} (e-value {e_value(found.log_evidence):.4g})"
    )


def on_breach(state: FrontState, rollout: Rollout, reason: str) -> FrontState:
    """The state after the gate found the canary to be worse: rolled back, or paused at its percentage."""
    if rollout.plan.on_breach == "pause":
        if rollout.status == "paused":
            return state
        return replace(state, rollout=replace(rollout, status="paused", reason=reason))
    return replace(state, rollout=rollout.ended("rolled_back", reason))


def promoted(state: FrontState, rollout: Rollout, reason: str) -> FrontState:
    """The state after a promotion: the canary's server is the stable one."""
    return replace(
        state,
        stable_slot=state.other_slot,
        versions={**state.versions, rollout.plan.model: rollout.plan.version},
        rollout=rollout.ended("promoted", reason),
    )


def routing(state: FrontState) -> Routing:
    """The routes for a state."""
    rollout, shadow = state.rollout, state.shadow
    mirror = None
    if shadow is not None and shadow.status == "running":
        mirror = Mirror(shadow.plan.model, shadow.plan.sample)
    if rollout is None or rollout.status not in ("running", "paused"):
        return Routing(state.stable_slot, state.versions, None, mirror)
    plan = rollout.plan
    canary = Canary(plan.model, plan.version, state.other_slot, rollout.percent, plan.sticky, plan.experiment)
    return Routing(state.stable_slot, state.versions, canary, mirror)
