"""Rollouts, A/B tests, shadows and recordings from Python, behind a front."""

from __future__ import annotations

from pathlib import Path

import pytest
from fronts import Front
from waiting import wait_for

import tfsctl


def test_mistakes_name_keyword_arguments() -> None:
    """Before any front is looked for, if that is possible."""
    with pytest.raises(tfsctl.InvalidInput, match="give percent=, or increasing steps="):
        tfsctl.canary("m", version=2)
    with pytest.raises(tfsctl.InvalidInput, match="give percent="):
        tfsctl.canary("m", version=2, steps=[5, 1])
    with pytest.raises(tfsctl.NotFound, match="no front serves m"):
        tfsctl.canary("m", version=2, percent=5)
    with pytest.raises(tfsctl.NotFound, match="no front serves m"):
        tfsctl.find_rollout("m")
    with pytest.raises(tfsctl.InvalidInput, match="min_agreement=1 is not between 0 and 1"):
        tfsctl.canary("m", version=2, percent=5, min_agreement=1)
    with pytest.raises(tfsctl.InvalidInput, match="sample=0 is not a share"):
        tfsctl.canary("m", version=2, percent=5, min_agreement=0.9, sample=0)
    with pytest.raises(tfsctl.InvalidInput, match="sample=10 is not a share"):
        tfsctl.shadow("m", version=2, sample=10)
    with pytest.raises(tfsctl.NotFound, match="no front serves m"):
        tfsctl.shadow("m")
    with pytest.raises(tfsctl.InvalidInput, match="remove=True cannot be used with rest_port or grpc_port"):
        tfsctl.front("m", remove=True, rest_port=0)
    with pytest.raises(tfsctl.InvalidInput, match="70000 is not a port"):
        tfsctl.front("m", rest_port=70000)
    with pytest.raises(tfsctl.NotFound, match="no server named m is running"):
        tfsctl.front("m")
    with pytest.raises(tfsctl.InvalidInput, match="sample=2 is not a share"), tfsctl.record(to="x", sample=2):
        pass


def counted_requests(test: tfsctl.ABTest) -> int:
    """The requests of both versions that the front has counted."""
    return sum(arm.requests for arm in test.results().arms.values())


@pytest.mark.long
@pytest.mark.server
def test_rollouts_end_while_requests_are_recorded_from_python(front: Front, tmp_path: Path) -> None:
    """A canary is promoted, another one aborted, and an A/B test joined with outcomes, while requests are recorded."""
    connection, folder = front.connect(), tmp_path / "recording"
    with pytest.raises(tfsctl.NotFound, match="no rollout was started"):
        tfsctl.find_rollout("m").status()
    with pytest.raises(tfsctl.NotFound, match="there was no A/B test"):
        tfsctl.ab("m").results()
    front.add_version(2)
    with tfsctl.record("m", to=folder, answers=True) as recording:
        canary = tfsctl.canary("m", version=2, percent=50, sticky="user-id")
        assert canary.status()["percent"] == 50
        assert {front.ask(connection, {"user-id": str(user)})[1] for user in range(40)} == {"1", "2"}
        with pytest.raises(tfsctl.InvalidInput, match="no label to move"):
            tfsctl.promote("m")
        assert canary.promote()["status"] == "promoted"
        assert canary.wait(10)["to"] == 2
        wait_for(lambda: recording.counts().requests == 40)
    assert repr(recording) == f"<tfsctl.Recording m: 40 requests in {folder}>"

    front.add_version(3)
    assert repr(tfsctl.canary("m", version=3, steps=[1, 100], interval_s=600)) == "<tfsctl.Rollout m 2 -> 3: running>"
    assert tfsctl.find_rollout("m").abort()["status"] == "aborted"

    test = tfsctl.ab("m", {"stable": 1, 3: 1}, sticky="user-id")
    had = {user: front.ask(connection, {"user-id": user})[1] for user in map(str, range(60))}
    wait_for(lambda: counted_requests(test) >= 60, lambda: str(test.results()))
    assert counted_requests(test) == 60
    file = tmp_path / "outcomes.csv"
    file.write_text("user_id,spent\n" + "".join(f"{user},{version}.5\n" for user, version in had.items()))
    found = test.results(file).outcomes
    assert found is not None
    assert (found.rows, found.difference.value) == (60, 1.0)
    assert test.stop().status == "aborted"

    answers = tfsctl.replay(folder, model="m", speed=0)
    assert dict(answers.codes) == {"OK": 40}
    training = tmp_path / "training.csv"
    training.write_text("x\n" + "1.0\n" * 40)
    assert tfsctl.skew(folder, training, fail_if=["missing>0.5"]).passed


@pytest.mark.long
@pytest.mark.server
def test_a_shadow_is_compared_and_stopped_from_python(front: Front) -> None:
    """A shadow is compared and stopped, and a canary with the gate of agreement has one of its own."""
    connection = front.connect()
    with pytest.raises(tfsctl.NotFound, match="no shadow of m was started"):
        tfsctl.shadow("m").status()
    front.add_version(2)
    shadow = tfsctl.shadow("m", version=2, sample=1)
    assert repr(shadow) == "<tfsctl.Shadow m 1 and 2: running>"
    with pytest.raises(tfsctl.NotFound, match="has compared no requests yet"):
        shadow.comparison()
    wait_for(lambda: front.ask(connection)[1] == "1" and tfsctl.shadow("m").status()["samples"] >= 3)
    assert shadow.stop()["status"] == "stopped"
    found = shadow.comparison(fail_if=["agreement<0.9"], min_rows=1)
    assert (found.agreement, found.passed, shadow.comparison().passed) == (0.0, False, True)
    with pytest.raises(tfsctl.NotFound, match="no shadow of m is running"):
        shadow.stop()

    canary = tfsctl.canary("m", version=2, percent=1, min_agreement=0.5, sample=1, slow="2xp99")
    agreement = canary.status()["agreement"]
    assert (agreement["min_agreement"], agreement["min_samples"] > 1) == (0.5, True)
    assert canary.status()["breach_at"] == pytest.approx(300)
    assert shadow.status()["sample"] == 1
    with pytest.raises(tfsctl.InvalidInput):
        shadow.stop()
    assert canary.abort()["status"] == "aborted"


@pytest.mark.long
@pytest.mark.server
def test_a_front_is_removed_and_put_back(front: Front) -> None:
    """The ports stay the same, and the server outlives the block. It can have a front on other ports meanwhile."""
    with pytest.raises(tfsctl.InvalidInput, match="m already has a front"):
        tfsctl.front("m")
    with tfsctl.front("m", remove=True) as server:
        assert (server.name, server.url) == ("m", front.record["url"])
    with pytest.raises(tfsctl.InvalidInput, match="m has no front"):
        tfsctl.front("m", remove=True)
    other = tfsctl.front("m", rest_port=0)
    assert (other.name, other.url == front.record["url"]) == ("m-front", False)
    other.stop()
    assert tfsctl.front().url == front.record["url"]
    assert front.ask(front.connect())[:2] == (200, "1")
