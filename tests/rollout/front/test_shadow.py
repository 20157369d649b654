"""A real shadow behind a front, and that nothing of it reaches clients: errors, hangs and crashes of B and the collector."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fronts import PREDICT, Front, Load
from gates import closed_gate
from graph_models import GraphModel
from waiting import wait_for

from tfsctl.rollout.front.front_files import FrontFiles, FrontState
from tfsctl.rollout.gate.agreement import samples_until_breach

pytestmark = [pytest.mark.server, pytest.mark.long]

LARGE = json.dumps(
    {"instances": [1.0] * 1_500_000}
).encode()  # more than the sockets and the buffers of a listener hold


def files() -> FrontState:
    found = FrontFiles("m").read()
    assert found is not None
    return found


def shadow(front: Front) -> Any:
    """The counts of `tfsctl shadow`."""
    return front.run("shadow", "m")["shadow"]


def more_answers(load: Load, count: int = 40) -> None:
    """Wait for answers to clients, all from version 1."""
    before = load.total
    wait_for(lambda: load.total > before + count)
    assert {(protocol, status, value) for protocol, status, value in load.answers} <= {
        ("rest", 200, 1.0),
        ("grpc", 0, 1.0),
    }


def collect_more(front: Front, name: str, count: int = 10) -> Callable[[], bool]:
    """Whether so much more was counted."""
    before = shadow(front)[name]
    return lambda: shadow(front)[name] >= before + count


def kill(process: Any, number: int = signal.SIGKILL) -> None:
    assert process is not None
    os.kill(process.pid, number)


def test_a_shadow_compares_requests_of_both_protocols(front: Front, tmp_path: Path) -> None:
    """It is reported as by `compare`, survives its collector, and leaves nothing behind."""
    front.add_version(2)
    front.add_version(3)
    with Load(front) as load:
        wait_for(lambda: load.total > 10)
        started = front.run("shadow", "m", "--version", 2, "--sample", "100%")
        assert started["shadow"]["status"] == "running"
        wait_for(lambda: shadow(front)["samples"] > 30)
        wait_for(lambda: front.run("shadow", "m")["comparison"])
        assert "is being shadowed" in front.run("shadow", "m", "--version", 3, code=2)
        assert "is being shadowed" in front.run("canary", "m", "--version", 3, "--percent", 1, code=2)
        more_answers(load)

        kill(files().collector)
        wait_for(lambda: shadow(front)["collector_starts"] == 2)
        wait_for(collect_more(front, "samples"))
        more_answers(load)
        assert front.command("shadow", "m", "--fail-if", "agreement<0.9", "--min-rows", 1).code == 7
        stopped = front.run("shadow", "m", "--stop", "--html", tmp_path / "report.html")
        more_answers(load)

    comparison = stopped["comparison"]
    assert stopped["shadow"]["status"] == "stopped"
    assert stopped["shadow"]["samples"] == stopped["shadow"]["disagreeing"] > 40
    assert (stopped["shadow"]["a_failures"], stopped["shadow"]["b_failures"]) == (0, 0)
    assert comparison["agreement"] == 0
    assert comparison["outputs"]["y"]["max_abs"] == 1
    assert comparison["worst"][0]["b"] == {"y": 2.0}
    assert "Rows that differ most" in (tmp_path / "report.html").read_text()
    assert files().collector is None
    wait_for(lambda: files().slots["b"].process is None)
    assert "no shadow of m is running" in front.run("shadow", "m", "--stop", code=4)


def test_a_collector_that_hangs_is_killed(front: Front) -> None:
    """Meanwhile clients are answered, with large bodies too."""
    front.add_version(2)
    front.run("shadow", "m", "--version", 2, "--sample", "100%")
    connection = front.connect()
    wait_for(lambda: front.ask(connection)[0] == 200 and shadow(front)["samples"] >= 3)
    kill(files().collector, signal.SIGSTOP)
    for _ in range(3):
        connection.request("POST", PREDICT, LARGE)
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read()
    wait_for(lambda: shadow(front)["collector_starts"] == 2)
    is_collected = collect_more(front, "samples", 3)
    wait_for(lambda: front.ask(connection)[0] == 200 and is_collected())


def test_errors_and_crashes_of_b_do_not_reach_clients(front: Front) -> None:
    """B fails for each request; then its server is killed, which is started again."""
    front.add_version(2, is_broken=True)
    with Load(front) as load:
        front.run("shadow", "m", "--version", 2, "--sample", 1)
        wait_for(lambda: shadow(front)["b_failures"] > 10)
        more_answers(load)
        before = files().slots["b"].process
        kill(before)
        wait_for(lambda: files().slots["b"].process not in (None, before))
        wait_for(collect_more(front, "b_failures"))
        more_answers(load)

    assert shadow(front)["status"] == "running"
    assert front.run("shadow", "m")["comparison"] is None


def test_a_hang_of_b_does_not_reach_clients(front: Front, tmp_path: Path) -> None:
    """Its requests end after --timeout, and the queue of the collector stays bounded."""
    with closed_gate(tmp_path / "gate") as gate:
        graph = GraphModel()
        graph.input("x")
        graph.signature({"x": "x"}, {"y": graph.gate("y", "x", gate)})
        graph.write(front.base / "2")
        with Load(front) as load:
            front.run("shadow", "m", "--version", 2, "--sample", 1, "--timeout", 0.2)
            gate.wait_for_run()
            wait_for(lambda: shadow(front)["b_failures"] + shadow(front)["a_failures"] > 5)
            more_answers(load, 200)
        gate.open()
        front.run("shadow", "m", "--stop")
        front.stop()


def test_a_canary_that_disagrees_is_rolled_back(front: Front) -> None:
    """Its answers have no errors. The rollback comes within the number of samples that is printed, and the shadow ends."""
    bound = samples_until_breach(0.01, 0.05, alpha=0.005).ninth_decile
    assert bound is not None
    front.add_version(2)
    with Load(front) as load:
        wait_for(lambda: load.total > 10)
        plan = ("--percent", 10, "--min-agreement", "99%", "--sample", "20%")
        started = front.run("canary", "m", "--version", 2, *plan)
        assert started["rollout"]["agreement"]["min_agreement"] == 0.99
        wait_for(lambda: front.state()["rollout"]["status"] == "rolled_back")
        wait_for(lambda: shadow(front)["status"] == "stopped")

    ended = front.state()["rollout"]
    assert "too few predictions agree with stable: 0.00%" in ended["reason"]
    assert ended["agreement"]["e_value"] >= ended["breach_at"] == 200
    assert ended["agreement"]["samples"] <= bound
    assert {status for _, status, _ in load.answers} == {200, 0}
