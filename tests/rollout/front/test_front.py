"""A real front: Envoy before embedded servers, its rollouts, and what survives when parts of it are killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from cli_runner import RunCli
from fronts import Front, Load
from waiting import eventually, wait_for

from tfsctl.programs import processes
from tfsctl.rollout.front.envoy.routes import VERSION_HEADER
from tfsctl.rollout.front.front_files import FrontFiles
from tfsctl.rollout.gate.forecast import forecast

pytestmark = pytest.mark.server


def test_a_rollout_loses_no_request(front: Front) -> None:
    """From serve to canary, larger canary and promotion, under load over both protocols."""
    front.add_version(2)
    with Load(front) as load:
        wait_for(lambda: load.total > 50)
        assert {value for _, _, value in load.answers} == {1.0}
        started = front.run("canary", "m", "--version", 2, "--percent", 20)
        assert started["rollout"]["is_applied"]
        front.run("canary", "m", "--version", 2, "--percent", 60)
        before = load.answers.copy()
        wait_for(lambda: load.total > before.total() + 300)
        assert "version 2 of m has no blessing" in front.run("promote", "m", "--require-blessing", code=7)
        promoted = front.run("promote", "m")
        after = load.answers.copy()
        wait_for(lambda: load.total > after.total() + 100)

    late = load.answers - after
    assert promoted["versions"] == {"m": 2}
    assert {(protocol, status) for protocol, status, _ in load.answers} == {("rest", 200), ("grpc", 0)}
    assert sum(count for (_, _, value), count in late.items() if value == 1.0) <= 2  # one in flight per thread
    assert "no rollout" in front.run("rollout", "abort", code=4)
    assert "no rollout is running" in front.run("rollback", "m", code=2)


def test_users_stay_on_their_version_and_headers_force_one(front: Front) -> None:
    """The same users over and over, while the percentage grows."""
    front.add_version(2)
    missing = front.run("canary", "m", "--version", 9, "--percent", 20, code=4)
    assert missing.startswith("error: m has no version 9: ")  # and no forecast before it
    front.run("canary", "m", "--version", 2, "--percent", 20, "--sticky", "User-Id")
    connection = front.connect()
    users = [str(number) for number in range(200)]
    first = {user: front.ask(connection, {"user-id": user})[1] for user in users}
    again = {user: front.ask(connection, {"user-id": user})[1] for user in users}
    front.run("canary", "m", "--version", 2, "--percent", 50, "--sticky", "user-id")
    more = {user: front.ask(connection, {"user-id": user})[1] for user in users}

    assert first == again
    assert 10 <= sum(version == "2" for version in first.values()) <= 80
    assert all(more[user] == "2" for user in users if first[user] == "2")
    assert front.ask(connection, {VERSION_HEADER: "2"})[:2] == (200, "2")
    assert front.ask(connection, {VERSION_HEADER: "1"})[:2] == (200, "1")
    assert front.ask(connection, {VERSION_HEADER: "3"})[0] == 404
    assert front.ask(connection, path="/v1/models/m/versions/2:predict")[:2] == (200, "2")
    assert "version 2 of m is being rolled out" in front.run("canary", "m", "--version", 1, "--percent", 1, code=2)


def test_a_broken_canary_is_rolled_back(front: Front) -> None:
    """Under load, after far fewer requests than are printed for 2 % errors, and the webhook is told."""
    posted: list[Any] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    front.add_version(2, is_broken=True)
    with HTTPServer(("127.0.0.1", 0), Receiver) as receiver, Load(front) as load:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        wait_for(lambda: load.total > 10)
        url = f"http://127.0.0.1:{receiver.server_port}/"
        front.run("canary", "m", "--version", 2, "--percent", 10, "--on-change", url)
        wait_for(lambda: front.state()["rollout"]["status"] == "rolled_back")
        ended = front.state()["rollout"]
        wait_for(lambda: front.state()["rollout"]["is_applied"])
        after = load.answers.copy()
        wait_for(lambda: load.total > after.total() + 100)
        wait_for(lambda: [one["rollout"]["status"] for one in posted][-1:] == ["rolled_back"])
        receiver.shutdown()

    late = load.answers - after
    assert "more errors than stable" in ended["reason"]
    assert ended["stable"]["errors"] == 0
    assert 0 < ended["canary"]["errors"] == ended["canary"]["requests"]
    assert sum(count for (_, status, _), count in late.items() if status not in (0, 200)) <= 2
    front.run("rollout", "status", "m", "--watch", code=7)


def test_a_slow_canary_is_rolled_back(front: Front) -> None:
    """Under load, within the number of requests that is printed for far fewer slow requests."""
    bound = forecast(0.1, alpha=0.005, canary_rate=0.05, stable_rate=0.01).ninth_decile
    front.add_version(2, matmul_size=1000)
    with Load(front) as load:
        wait_for(lambda: load.total > 10)
        started = front.run("canary", "m", "--version", 2, "--percent", 10, "--slow", "30ms", "--alpha", 0.01)
        assert started["rollout"]["slow"]["threshold_ms"] == 30
        wait_for(lambda: front.state()["rollout"]["status"] == "rolled_back")

    ended = front.state()["rollout"]
    assert "more slow requests than stable" in ended["reason"]
    assert ended["slow"]["e_value"] >= ended["breach_at"] == 200
    assert ended["canary"]["errors"] == 0
    assert bound is not None
    assert ended["step_requests"] <= bound
    assert {status for _, status, _ in load.answers} == {200, 0}


def test_parts_that_are_killed_come_back(front: Front, run_cli: RunCli) -> None:
    """Envoy is restarted. The front itself is restarted by a command, and continues the rollout."""
    front.add_version(2)
    front.run("canary", "m", "--version", 2, "--percent", 50)
    files = FrontFiles("m")
    state = files.read()
    assert state is not None
    assert state.envoy is not None
    os.kill(state.envoy.pid, signal.SIGKILL)
    wait_for(lambda: front.state()["envoy_starts"] == 2 and front.state()["rollout"]["is_applied"])
    assert front.ask(front.connect())[0] == 200
    assert front.run("ps")["servers"][0]["front"] == {"envoy_running": True, "envoy_starts": 2}
    assert "(behind Envoy, restarted 1 time)" in run_cli("ps").stdout

    os.kill(front.record["pid"], signal.SIGKILL)
    wait_for(lambda: processes.process_identity(front.record["pid"]) is None)
    assert front.ask(front.connect())[0] == 200
    assert "has ended" in run_cli("rollout", "status", "m").stderr
    assert run_cli("restart", "m").code == 0
    assert front.state()["rollout"]["status"] == "running"
    assert front.run("rollout", "abort", "m")["versions"] == {"m": 1}


@pytest.fixture
def _first_envoy_is_killed(run_cli: RunCli) -> Iterator[None]:  # noqa: ARG001 - its state directory
    """The first Envoy of the front `m` is killed as soon as it runs, before the front knows that it answers."""

    def is_killed() -> bool:
        state = FrontFiles("m").read()
        if state is None or state.envoy is None:
            return False
        os.kill(state.envoy.pid, signal.SIGKILL)
        return True

    thread = threading.Thread(target=wait_for, args=(is_killed,))
    thread.start()
    yield
    thread.join()


@pytest.mark.usefixtures("_first_envoy_is_killed")
def test_envoy_that_is_killed_at_once_comes_back(front: Front) -> None:
    """The front becomes ready with another Envoy. On a busy machine, `serve` may return before the first one is killed."""
    eventually(lambda: front.state()["envoy_starts"], 2)

    def answers() -> bool:
        with contextlib.suppress(OSError, HTTPException):
            return bool(front.ask(front.connect())[0] == 200)
        return False

    wait_for(answers)
