"""What a front does next: commands, steps and the gate, without any process."""

from __future__ import annotations

import shlex
import subprocess
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.errors import ExitCode, InvalidInput, NotFound, TfsctlError
from tfsctl.rollout.front import decisions, operations, rollout_report, shadow_decisions
from tfsctl.rollout.front.envoy import admin
from tfsctl.rollout.front.envoy.admin import RequestCounts
from tfsctl.rollout.front.front_files import FrontFiles, FrontState, ProcessRef, SlotState
from tfsctl.rollout.front.rollout_state import Rollout, RolloutPlan
from tfsctl.rollout.shadow.shadow_state import ShadowPlan, ShadowProgress
from tfsctl.serving_config.model_config import ModelConfig
from tfsctl.serving_config.serving_config import ServingConfig

SHADOW = ShadowPlan("m", 2, 0.1, min_agreement=0.95)
PLAN = RolloutPlan("m", 2, (10.0, 50.0, 100.0), 0.0, (100, 100, 1))


@pytest.fixture
def state() -> FrontState:
    """A front that serves version 1."""
    return FrontState({"a": SlotState((1, 2), versions={"m": [1]}), "b": SlotState((3, 4))}, {"m": 1}, "/nowhere")


@pytest.fixture
def spec(tmp_path: Path) -> LaunchSpec:
    """What the front serves: versions 1, 2 and 3 are on disk."""
    for version in ("1", "2", "3"):
        (tmp_path / "m" / version).mkdir(parents=True)
        (tmp_path / "m" / version / "saved_model.pb").touch()
    return LaunchSpec("front", ServingConfig((ModelConfig("m", str(tmp_path / "m")),)), "127.0.0.1", front=True)


def command(action: str, plan: RolloutPlan = PLAN) -> dict[str, Any]:
    return {"id": "1", "action": action, "operator": "ann", "plan": asdict(plan), "shadow": asdict(SHADOW)}


def running(state: FrontState, plan: RolloutPlan = PLAN, *, step: int = 0) -> FrontState:
    """The front with a rollout at a step."""
    rollout = Rollout(plan, 1, "ann", time.time()).at_step(step)
    return replace(state, rollout=rollout)


def advanced(state: FrontState, stable: RequestCounts, canary: RequestCounts) -> FrontState:
    """The front after these counts."""
    assert state.rollout is not None
    return decisions.next_state(state, state.rollout.counted(stable, canary))


GATED = replace(PLAN, min_agreement=0.95, min_samples=30)


def shadow_command(version: int = 2) -> dict[str, Any]:
    return {**command("shadow"), "plan": asdict(ShadowPlan("m", version, 0.1))}


def with_samples(
    state: FrontState, spec: LaunchSpec, plan: RolloutPlan, *, samples: int, log_evidence: float = 0.0
) -> FrontState:
    """A front with a running canary. Its shadow has compared `samples` requests, and a fifth of them disagree."""
    started = decisions.carry_out(state, spec, command("canary", plan))
    assert started.shadow is not None
    assert started.rollout is not None
    progress = ShadowProgress(started.shadow.id, samples=samples, disagreeing=samples / 5, log_evidence=log_evidence)
    return replace(started, shadow=replace(started.shadow, progress=progress), rollout=started.rollout.at_step(0))


def test_a_canary_is_served_by_the_other_slot(state: FrontState, spec: LaunchSpec) -> None:
    """It serves the stable version too, because clients ask for it by number."""
    started = decisions.carry_out(state, spec, command("canary"))

    assert started.rollout is not None
    assert started.rollout.status == "starting"
    assert started.slots["b"].versions == {"m": [1, 2]}


@pytest.mark.parametrize(
    ("version", "error", "message"),
    [
        (1, InvalidInput, "is already the stable version"),
        (9, NotFound, "no version 9"),
    ],
)
def test_the_error_of_an_impossible_version_names_it(
    state: FrontState, spec: LaunchSpec, version: int, error: type[TfsctlError], message: str
) -> None:
    """The error names the version."""
    with pytest.raises(error, match=message) as caught:
        decisions.carry_out(state, spec, command("canary", replace(PLAN, version=version)))
    assert error is InvalidInput or caught.value.hint.startswith("tfsctl versions ")


def test_an_older_version_can_be_copied(state: FrontState, spec: LaunchSpec, tmp_path: Path) -> None:
    """The command in the hint gives the older version the next number, which the front then accepts."""
    stable = replace(state, versions={"m": 3})
    with pytest.raises(InvalidInput, match="version 2 of m is older than 3") as caught:
        decisions.carry_out(stable, spec, command("canary"))

    copy, _, _ = caught.value.hint.partition(" makes it version 4")
    assert shlex.split(copy) == ["cp", "-r", str(tmp_path / "m" / "2"), str(tmp_path / "m" / "4")]
    subprocess.run(shlex.split(copy), check=True)
    started = decisions.carry_out(stable, spec, command("canary", replace(PLAN, version=4)))
    assert started.slots["b"].versions == {"m": [3, 4]}


def test_the_second_operator_is_told_of_the_first(state: FrontState, spec: LaunchSpec) -> None:
    """Another version is refused while a rollout is running."""
    with pytest.raises(InvalidInput, match=r"version 2 of m is being rolled out \(started by ann"):
        decisions.carry_out(running(state), spec, command("canary", replace(PLAN, version=3)))


def test_steps_advance_with_enough_data_only(state: FrontState) -> None:
    """Nothing is promoted on silence, and the last step of 100 % promotes."""
    few = advanced(running(state), RequestCounts(50), RequestCounts(5))
    enough = advanced(running(state), RequestCounts(95), RequestCounts(5))
    silent_canary = advanced(running(state), RequestCounts(1000), RequestCounts())
    last = advanced(running(state, step=2), RequestCounts(), RequestCounts(1))

    assert few.rollout is not None
    assert enough.rollout is not None
    assert last.rollout is not None
    assert (few.rollout.step, enough.rollout.step) == (0, 1)
    assert silent_canary.rollout is not None
    assert silent_canary.rollout.step == 0
    assert (last.rollout.status, last.stable_slot, last.versions) == ("promoted", "b", {"m": 2})


def test_without_an_interval_the_step_lasts(state: FrontState) -> None:
    """`--percent` waits for `promote`."""
    plan = replace(PLAN, steps=(100.0,), interval_s=None, min_requests=(1,))
    after = advanced(running(state, plan), RequestCounts(), RequestCounts(10_000))

    assert after.rollout is not None
    assert after.rollout.status == "running"


@pytest.mark.parametrize(("on_breach", "status"), [("rollback", "rolled_back"), ("pause", "paused")])
def test_a_worse_canary_is_rolled_back_or_paused(state: FrontState, on_breach: Any, status: str) -> None:
    """It is rolled back or paused, and the reason tells the counts."""
    after = advanced(running(state, replace(PLAN, on_breach=on_breach)), RequestCounts(90, 0), RequestCounts(10, 4))

    assert after.rollout is not None
    assert after.rollout.status == status
    assert "4 of 10 requests, stable 0 of 90" in after.rollout.reason


def test_a_paused_rollout_is_resumed_without_its_evidence(state: FrontState, spec: LaunchSpec) -> None:
    """Otherwise it would be paused again at once."""
    paused = advanced(running(state, replace(PLAN, on_breach="pause")), RequestCounts(90), RequestCounts(10, 4))
    resumed = decisions.carry_out(paused, spec, command("resume"))

    assert resumed.rollout is not None
    assert resumed.rollout.status == "running"
    assert not resumed.rollout.test.is_breached


def test_errors_of_both_versions_are_no_breach(state: FrontState) -> None:
    """Requests that no version can answer are no fault of the canary."""
    after = advanced(
        running(state, replace(PLAN, min_requests=(10_000, 1, 1))), RequestCounts(900, 90), RequestCounts(100, 10)
    )

    assert after.rollout is not None
    assert after.rollout.status == "running"


def test_a_slow_canary_is_rolled_back(state: FrontState) -> None:
    """It is rolled back with half of alpha, and the reason names the threshold."""
    slow = running(state, replace(PLAN, slow="50ms"))
    assert slow.rollout is not None
    slow = replace(slow, rollout=slow.rollout.with_slow_threshold(50.0))
    after = advanced(slow, RequestCounts(90, 0, 1), RequestCounts(10, 0, 6))

    assert after.rollout is not None
    assert after.rollout.status == "rolled_back"
    assert "6 of 10 took 50 ms or more, stable 1 of 90" in after.rollout.reason
    assert rollout_report.report(after, "front")["rollout"]["breach_at"] == 200


def test_no_step_ends_before_the_threshold_of_slow_requests_is_measured(state: FrontState) -> None:
    """When it is known the step begins again, and the evidence of its errors is kept."""
    measuring = advanced(running(state, replace(PLAN, slow="p99")), RequestCounts(900, 1), RequestCounts(100, 1))
    assert measuring.rollout is not None
    measured = measuring.rollout.with_slow_threshold(12.0)

    assert measuring.rollout.step == 0
    assert (measured.stable, measured.canary) == (RequestCounts(), RequestCounts())
    assert measured.test.log_evidence == pytest.approx(measuring.rollout.test.log_evidence)
    after = advanced(replace(state, rollout=measured), RequestCounts(90), RequestCounts(10)).rollout
    assert after is not None
    assert after.step == 1
    assert after.slow_ms == 12


def test_a_new_rule_needs_a_new_threshold(state: FrontState, spec: LaunchSpec) -> None:
    """The threshold of the old rule is kept for the same rule only."""
    slow = running(state, replace(PLAN, slow="p99"))
    assert slow.rollout is not None
    slow = replace(slow, rollout=slow.rollout.with_slow_threshold(12.0))
    thresholds = []
    for rule in ("p99", "p95", "40ms", None):
        changed = decisions.carry_out(slow, spec, command("canary", replace(PLAN, slow=rule)))
        assert changed.rollout is not None
        thresholds.append(changed.rollout.slow_ms)

    assert thresholds == [12, None, 40, None]


def test_a_shadow_is_served_by_the_other_slot(state: FrontState, spec: LaunchSpec) -> None:
    """A canary of that version keeps its server; the end of the canary ends the shadow."""
    shadowed = decisions.carry_out(state, spec, shadow_command())
    canary = decisions.carry_out(shadowed, spec, command("canary"))
    ended = shadow_decisions.without_idle_shadow(canary, decisions.carry_out(canary, spec, command("abort")))

    assert shadowed.slots["b"].versions == canary.slots["b"].versions == {"m": [1, 2]}
    assert shadowed.shadow is not None
    assert canary.shadow == shadowed.shadow
    assert shadowed.needs_other_slot
    assert not ended.needs_other_slot
    assert ended.shadow is not None
    assert (ended.shadow.status, ended.shadow.reason) == ("stopped", "the rollout has ended")


def test_a_second_shadow_and_stopping_a_needed_one_are_refused(state: FrontState, spec: LaunchSpec) -> None:
    """Two versions at once, a shadow that a canary needs, and one that is not there."""
    shadowed = decisions.carry_out(state, spec, shadow_command())
    gated = decisions.carry_out(shadowed, spec, command("canary", GATED))
    for current, refused, message in (
        (shadowed, shadow_command(3), "version 2 of m is being shadowed"),
        (shadowed, command("canary", replace(PLAN, version=3)), "version 2 of m is being shadowed"),
        (running(state), shadow_command(3), "version 2 of m is being rolled out"),
        (gated, shadow_command(), "has its own shadow"),
        (gated, command("stop_shadow"), "needs the shadow"),
        (state, shadow_command(1), "is already the stable version"),
    ):
        with pytest.raises(InvalidInput, match=message):
            decisions.carry_out(current, spec, refused)
    with pytest.raises(InvalidInput, match="is being shadowed") as caught:
        decisions.carry_out(shadowed, spec, shadow_command(3))
    assert caught.value.hint == "tfsctl shadow m --server front --stop"
    with pytest.raises(NotFound, match="no shadow of front is running") as stopped:
        decisions.carry_out(state, spec, command("stop_shadow"))
    assert stopped.value.hint == "tfsctl shadow m --version N --sample 0.1 starts one"


def test_the_operator_sees_the_hint_of_a_refused_command(state: FrontState, monkeypatch: pytest.MonkeyPatch) -> None:
    """The front stores the hint with the error, and the command that was refused raises both."""
    refused = replace(state, command_error="no", command_hint="do this", command_code=int(ExitCode.NOT_FOUND))
    monkeypatch.setattr(operations, "_wait", lambda *_: refused)
    server: Any = SimpleNamespace(record=SimpleNamespace(name="front"))

    with pytest.raises(NotFound, match="no") as caught:
        operations.stop_shadow(server)
    assert caught.value.hint == "do this"


@pytest.mark.parametrize(("on_breach", "status"), [("rollback", "rolled_back"), ("pause", "paused")])
def test_a_canary_that_disagrees_is_rolled_back_or_paused(
    state: FrontState, spec: LaunchSpec, on_breach: Any, status: str
) -> None:
    """It is rolled back or paused, without any error. A resumed one begins with a new shadow."""
    gated = with_samples(state, spec, replace(GATED, on_breach=on_breach), samples=40, log_evidence=6.0)
    after = advanced(gated, RequestCounts(90), RequestCounts(10))

    assert after.rollout is not None
    assert after.shadow is not None
    assert after.rollout.status == status
    assert "80.00% of 40 shadowed requests, and the minimum is 0.95" in after.rollout.reason
    if status == "paused":
        resumed = decisions.carry_out(after, spec, command("resume"))
        assert resumed.shadow is not None
        assert resumed.shadow.progress is None
        assert resumed.shadow.id != after.shadow.id


@pytest.mark.parametrize(("samples", "step"), [(0, 0), (29, 0), (30, 1)])
def test_no_step_ends_without_enough_samples(state: FrontState, spec: LaunchSpec, samples: int, step: int) -> None:
    """Nothing is promoted on silence, however many requests there are."""
    after = advanced(with_samples(state, spec, GATED, samples=samples), RequestCounts(9000), RequestCounts(1000))

    assert after.rollout is not None
    assert after.rollout.step == step


def test_copies_are_not_recorded(state: FrontState, spec: LaunchSpec) -> None:
    """The server of a shadow does not record, and a canary with a shadow cannot be recorded."""
    record = {**command("record"), "model": "m", "logging": {"filename_prefix": "/r/m"}}
    recorded = decisions.carry_out(state, spec, record)
    shadowed = decisions.carry_out(recorded, spec, shadow_command())

    assert shadowed.recordings_of("a") == recorded.recordings
    assert shadowed.recordings_of("b") == {}
    assert decisions.carry_out(recorded, spec, command("canary")).recordings_of("b") == recorded.recordings
    for current, refused in (
        (shadowed, command("canary")),
        (recorded, command("canary", GATED)),
        (running(recorded), shadow_command()),
    ):
        with pytest.raises(InvalidInput, match="would be, too") as caught:
            decisions.carry_out(current, spec, refused)
        assert caught.value.hint == "tfsctl record front --model m --stop"
    with pytest.raises(InvalidInput, match="would be recorded"):
        decisions.carry_out(decisions.carry_out(state, spec, command("canary", GATED)), spec, record)


def test_a_canary_during_an_ab_test_is_refused_with_the_command_that_ends_it(
    state: FrontState, spec: LaunchSpec
) -> None:
    """The test could not be continued after a canary."""
    tested = running(state, RolloutPlan("m", 2, (50.0,), None, (1,), experiment="id"))
    with pytest.raises(InvalidInput, match="an A/B test of versions 1 and 2 of m is running") as caught:
        decisions.carry_out(tested, spec, command("canary"))
    assert caught.value.hint == "tfsctl ab m --server front --stop"


def test_the_gates_share_alpha() -> None:
    """Each of three has a third."""
    plan = replace(PLAN, slow="50ms", min_agreement=0.9, alpha=0.03)

    assert plan.gate_alpha == pytest.approx(0.01)


def test_the_state_survives_its_file(state: FrontState, spec: LaunchSpec) -> None:
    """What is written is what is read."""
    files = FrontFiles("front")
    files.write(running(state))
    read = files.read()
    gated = with_samples(state, spec, GATED, samples=3)
    files.write(gated)
    assert files.read() == gated

    assert read is not None
    assert read.rollout is not None
    assert read.rollout.plan == PLAN
    assert read.slots == state.slots


def test_requests_of_both_protocols_are_added() -> None:
    """Requests of both protocols are added; those that ended without an answer are slow."""
    counters = {"upstream_rq_completed": 8, "upstream_rq_active": 1, "upstream_rq_total": 12, "upstream_rq_5xx": 2}
    entries = [{"name": f"cluster.a_rest_split.{name}", "value": value} for name, value in counters.items()]
    entries += [{"name": f"cluster.a_grpc_split.grpc.{name}", "value": 5} for name in ("success", "failure")]
    entries += [{"name": "cluster.shadow_grpc.upstream_rq_pending_overflow", "value": 7}]
    buckets = [{"lower_bound": 0, "width": 0, "count": 3}, {"lower_bound": 160, "width": 10, "count": 2}]
    details = [
        {"name": f"cluster.a_{protocol}_split.upstream_rq_time", "totals": buckets} for protocol in ("rest", "grpc")
    ]
    found = admin.parse_statistics([*entries, {"histograms": {"details": details}}])

    assert found.counts("a") == RequestCounts(18, 7, 0)
    assert found.counts("a", 50.0) == RequestCounts(18, 7, 4 + 3)
    assert found.counts("b", 50.0) == RequestCounts()
    assert found.lost_copies == 7


def test_counts_begin_at_0_after_a_restart_of_envoy() -> None:
    """Its counters begin at 0 again."""
    assert RequestCounts(5, 1).since(RequestCounts(100, 2)) == RequestCounts(5, 1)
    assert RequestCounts(105, 3).since(RequestCounts(100, 2)) == RequestCounts(5, 1)


def test_each_model_has_one_recording_on_all_servers(state: FrontState, spec: LaunchSpec) -> None:
    """One for each model, whether a rollout is running or not; servers are told until all of them carry it out."""
    begin = {"id": "1", "action": "record", "operator": "ann", "model": "m", "logging": {"filename_prefix": "/r/m"}}
    recording = decisions.carry_out(state, spec, begin)
    assert recording.recordings == {"m": {"filename_prefix": "/r/m"}}
    assert recording.is_recording_settled  # no server runs
    assert not recording.with_slot("a", SlotState((1, 2), ProcessRef(1, "x"))).is_recording_settled
    with pytest.raises(InvalidInput, match="the requests of m are already being recorded, to /r/m") as caught:
        decisions.carry_out(recording, spec, begin)
    assert caught.value.hint == "tfsctl record front --model m --stop"
    assert decisions.carry_out(recording, spec, {**begin, "logging": None}).recordings == {}
