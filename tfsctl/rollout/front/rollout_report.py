"""Reports of a rollout: for `rollout status --json`, `--on-change`, the log of the front, and the A/B test."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from tfsctl.rollout.front.front_files import FrontState
from tfsctl.rollout.front.rollout_state import Rollout
from tfsctl.rollout.shadow.shadow_state import Shadow, ShadowProgress


def report(state: FrontState, server: str) -> dict[str, Any]:
    """What `rollout status --json` prints, and what is posted to `--on-change`."""
    rollout = state.rollout
    document: dict[str, Any] = {"server": server, "versions": state.versions, "envoy_starts": state.envoy_starts}
    if rollout is None:
        return {**document, "rollout": None}
    return {
        **document,
        "rollout": {
            "model": rollout.plan.model,
            "from": rollout.from_version,
            "to": rollout.plan.version,
            "kind": "canary" if rollout.plan.experiment is None else "ab",
            "sticky": rollout.plan.sticky,
            "status": rollout.status,
            "percent": rollout.percent,
            "step": rollout.step + 1,
            "steps": list(rollout.plan.steps),
            "is_applied": state.applied == state.generation,
            "stable": asdict(rollout.total_stable),
            "canary": asdict(rollout.total_canary),
            "step_requests": rollout.stable.requests + rollout.canary.requests,
            "min_requests": rollout.plan.min_requests[rollout.step],
            "e_value": e_value(rollout.test.log_evidence),
            "breach_at": 1 / rollout.plan.gate_alpha,
            "slow": _slow(rollout),
            "agreement": _agreement(rollout, state.shadow),
            "operator": rollout.operator,
            "started_at": rollout.started_at,
            "ended_at": rollout.ended_at,
            "reason": rollout.reason,
        },
    }


def describe(rollout: Rollout) -> str:
    """One line about a rollout."""
    what = f"{rollout.plan.model} {rollout.from_version} -> {rollout.plan.version}: {rollout.status}"
    percent = f" at {rollout.percent:g} %" if rollout.percent else ""
    return f"{what}{percent}{f' ({rollout.reason})' if rollout.reason else ''}"


def describe_test(rollout: Rollout) -> dict[str, Any]:
    """What is stored with the requests of an A/B test: its versions, how they are split, and its start."""
    return {
        "model": rollout.plan.model,
        "a": rollout.from_version,
        "b": rollout.plan.version,
        "percent_b": rollout.plan.steps[0],
        "sticky": rollout.plan.sticky,
        "operator": rollout.operator,
        "started_at": rollout.started_at,
    }


def _slow(rollout: Rollout) -> dict[str, Any] | None:
    """The gate of slow requests for `report`."""
    if rollout.plan.slow is None:
        return None
    evidence = e_value(rollout.slow_test.log_evidence)
    return {"rule": rollout.plan.slow, "threshold_ms": rollout.slow_ms, "e_value": evidence}


def _agreement(rollout: Rollout, shadow: Shadow | None) -> dict[str, Any] | None:
    """The gate of agreement for `report`."""
    if rollout.plan.min_agreement is None or shadow is None:
        return None
    found = shadow.progress or ShadowProgress(shadow.id)
    return {
        "min_agreement": rollout.plan.min_agreement,
        "samples": found.samples,
        "min_samples": rollout.plan.min_samples,
        "agreement": 1 - found.disagreeing / found.samples if found.samples else None,
        "e_value": e_value(found.log_evidence),
    }


def e_value(log_evidence: float) -> float:
    """The evidence as a number that JSON can hold."""
    return math.exp(min(log_evidence, 100.0))
