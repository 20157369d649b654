"""What a front tells about its rollout."""

from __future__ import annotations

import json
from dataclasses import replace

from tfsctl.rollout.front import rollout_report
from tfsctl.rollout.front.envoy.admin import RequestCounts
from tfsctl.rollout.front.front_files import FrontState, SlotState
from tfsctl.rollout.front.rollout_state import Rollout, RolloutPlan
from tfsctl.rollout.shadow.shadow_state import Shadow, ShadowPlan, ShadowProgress

PLAN = RolloutPlan("m", 2, (10.0, 100.0), 0.0, (100, 1))
ROLLOUT = Rollout(PLAN, 1, "ann", 1_790_000_000.0).at_step(0)
IDLE = FrontState({"a": SlotState((1, 2)), "b": SlotState((3, 4))}, {"m": 1}, "/nowhere")


def test_a_front_without_a_rollout_reports_its_versions() -> None:
    assert rollout_report.report(IDLE, "front") == {
        "server": "front",
        "versions": {"m": 1},
        "envoy_starts": 0,
        "rollout": None,
    }


def test_the_report_of_a_canary_is_json_with_the_counts_of_its_step_and_in_total() -> None:
    rollout = ROLLOUT.counted(RequestCounts(90, 2, 0), RequestCounts(10, 1, 0)).at_step(1)
    rollout = rollout.counted(RequestCounts(0, 0, 0), RequestCounts(5, 0, 0))
    reported = json.loads(json.dumps(rollout_report.report(replace(IDLE, rollout=rollout), "front")))["rollout"]

    assert (reported["kind"], reported["from"], reported["to"]) == ("canary", 1, 2)
    assert (reported["step"], reported["percent"], reported["step_requests"]) == (2, 100.0, 5)
    assert (reported["stable"]["requests"], reported["canary"]["requests"]) == (90, 15)
    assert (reported["slow"], reported["agreement"]) == (None, None)


def test_overwhelming_evidence_is_still_a_number_in_json() -> None:
    rollout = replace(ROLLOUT, log_evidence=10_000.0)
    reported = rollout_report.report(replace(IDLE, rollout=rollout), "front")["rollout"]

    assert 1e40 < json.loads(json.dumps(reported, allow_nan=False))["e_value"] < 1e50


def test_agreement_is_unknown_until_the_shadow_has_compared_a_request() -> None:
    plan = replace(PLAN, min_agreement=0.9, min_samples=10)
    shadow = Shadow(ShadowPlan("m", 2, 0.1, min_agreement=0.9), 1, "ann", 1_790_000_000.0, "1")
    state = replace(IDLE, rollout=replace(ROLLOUT, plan=plan), shadow=shadow)
    compared = replace(shadow, progress=ShadowProgress(shadow.id, samples=20, disagreeing=5))

    assert rollout_report.report(state, "front")["rollout"]["agreement"]["agreement"] is None
    after = rollout_report.report(replace(state, shadow=compared), "front")["rollout"]["agreement"]
    assert (after["samples"], after["agreement"]) == (20, 0.75)


def test_the_line_about_a_rollout_names_its_step_and_the_reason_of_its_end() -> None:
    assert rollout_report.describe(ROLLOUT) == "m 1 -> 2: running at 10 %"
    assert rollout_report.describe(ROLLOUT.ended("aborted", "by ann")) == "m 1 -> 2: aborted (by ann)"
