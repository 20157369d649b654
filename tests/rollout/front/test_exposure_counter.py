"""The requests of an A/B test, counted by the process of its front."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace

from tfsctl.rollout.front.envoy.routes import cluster
from tfsctl.rollout.front.exposure_counter import ExposureCounter
from tfsctl.rollout.front.front_files import FrontFiles, FrontState, SlotState
from tfsctl.rollout.front.rollout_state import Rollout, RolloutPlan

AB_TEST = RolloutPlan("m", 2, (50.0,), None, (1,), sticky="user-id", experiment="t")


def test_the_last_requests_of_a_test_are_counted_while_another_rollout_runs() -> None:
    """Envoy logs them up to half a second after they were answered."""
    files, notes = FrontFiles("front"), list[str]()
    files.write(FrontState({"a": SlotState((1, 2)), "b": SlotState((3, 4))}, {"m": 1}, "/nowhere"))
    state = files.read()
    assert state is not None
    test = Rollout(AB_TEST, 1, "ann", 0.0).at_step(0)
    canary = Rollout(replace(AB_TEST, experiment=None), 1, "ann", 1.0)
    with closing(ExposureCounter(files, "/nowhere/admin", notes.append)) as counter:
        counter.update(replace(state, rollout=test))
        line = {"experiment": "t=u1", "cluster": cluster("b", "rest", split=True), "status": 200, "grpc": None, "us": 9}
        files.exposure_log.write_text(json.dumps(line) + "\n")
        counter.update(replace(state, rollout=canary))
    assert {version: arm.requests for version, arm in files.exposures.arms().items()} == {2: 1}
    assert notes == []
