"""A running front for tests of rollouts, and load over both protocols."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from cli_runner import Result, RunCli
from graph_models import GraphModel
from mixed_load import PAUSE_S
from ports import free_ports
from scale_models import write_scale_model

from tfsctl.core import protos, tensors
from tfsctl.rollout.front.envoy.routes import VERSION_HEADER

if TYPE_CHECKING:
    from typing_extensions import Self

PREDICT = "/v1/models/m:predict"


class Front:
    """A running front of the model `m`, whose version V answers V * x."""

    def __init__(self, run_cli: RunCli, base: Path) -> None:
        self.base = base
        self.connections: list[HTTPConnection] = []
        self._run_cli = run_cli
        write_scale_model(base / "1", 1.0)
        # A check of a new version takes as much CPU as a server; tests of rollouts under load have it.
        rest_port, grpc_port = free_ports(2)  # another process may take ports that tfsctl chooses
        options = ("--server-arg=--check_new_versions=never", "--rest-port", rest_port, "--grpc-port", grpc_port)
        self.record = self.run("serve", base, "--front", "--detach", *options)

    def run(self, *args: object, code: int = 0) -> Any:
        """Run a command with --json; its document, or its stderr if it fails as expected."""
        result = self.command(*args)
        assert result.code == code, result.stderr
        return json.loads(result.stdout) if code == 0 else result.stderr

    def command(self, *args: object) -> Result:
        """Run a command with --json, whatever its exit code is."""
        return self._run_cli(*args, "--json")

    def stop(self) -> None:
        """Stop it before the fixture does."""
        self._run_cli("stop", "--all")

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
        self.connections.append(HTTPConnection("127.0.0.1", self.record["rest_port"], timeout=240))
        return self.connections[-1]


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
        while not self._stop.wait(PAUSE_S):
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
            while not self._stop.wait(PAUSE_S):
                try:
                    answer = protos.PredictResponse.FromString(predict(body, timeout=240))
                    self.answers["grpc", 0, float(tensors.from_proto(answer.outputs["y"])[0])] += 1
                except grpc.RpcError as error:
                    self.answers["grpc", error.code().value[0], 0.0] += 1
