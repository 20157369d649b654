"""`tfsctl record --listen`: a proxy before a server that forwards everything as it is, and records one model."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from cli_runner import RunCli
from ports import free_ports
from scale_models import write_scale_model
from waiting import wait_for

from tfsctl.clients.grpc import GrpcClient
from tfsctl.core import protos, tensors
from tfsctl.core.types import ModelRef
from tfsctl.data.readers.prediction_logs import read_recording
from tfsctl.engines.registry import records
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import EngineError, InvalidInput, NotFound, RequestRejected
from tfsctl.rollout.recording.proxied_model import ProxiedModel
from tfsctl.rollout.recording.recording_session import AnyRecordedModel, find_recorded, recording
from tfsctl.rollout.recording.upstream import upstream_at
from tfsctl.server.request_log.record_files import RecordFiles

PREDICT = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture
def server(tmp_path: Path, run_cli: RunCli) -> Iterator[ServerRecord]:
    """A detached embedded server with the model `m`, whose version 2 doubles its input."""
    write_scale_model(tmp_path / "m" / "2", 2.0)
    started = run_cli(
        *("serve", tmp_path / "m", "--engine", "embedded", "--detach", "--rest-port", "0", "--grpc-port", "0")
    )
    assert started.code == 0, started.stderr
    yield records.running()[0]
    assert run_cli("stop", "m").code == 0


@contextmanager
def proxy(server: ServerRecord, folder: Path, **options: Any) -> Iterator[tuple[int, AnyRecordedModel]]:
    """Record the model through a proxy; yields its port."""
    (port,) = free_ports(1)
    recorded = find_recorded(server.name, None, listen=str(port))
    with recording(recorded, folder, **options):
        yield port, recorded


def ask(port: int, path: str, body: bytes | None, headers: dict[str, str] | None = None) -> tuple[int, Any, bytes]:
    """The status, the headers and the body of a REST answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET" if body is None else "POST", path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of the index."""
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


@pytest.mark.server
def test_what_is_forwarded_and_what_is_recorded(server: ServerRecord, tmp_path: Path) -> None:
    """Answers, errors, compressed bodies and metadata pass unchanged. Each request of the model has a line."""
    folder = tmp_path / "recording"
    path, body = "/v1/models/m:predict", b'{"instances": [1.5, 2]}'
    with proxy(server, folder, answers=True) as (port, _):
        for request in (
            (path, body),
            (path, b'{"instances": ["x"]}'),
            ("/v1/models/m/versions/2:predict", body),
            ("/v1/models/m/versions/7:predict", body),
            ("/v1/models/m", None),
            ("/v1/models/other:predict", body),
        ):
            direct = ask(server.rest_port, *request)
            assert ask(port, *request)[::2] == direct[::2]
        gzipped = ask(port, path, gzip.compress(body), {"content-encoding": "gzip", "accept-encoding": "gzip"})
        assert json.loads(gzipped[2] if gzipped[2][:1] == b"{" else gzip.decompress(gzipped[2])) == {
            "predictions": [3.0, 4.0]
        }
        client = GrpcClient("127.0.0.1", port)
        found = client.predict(ModelRef("m"), {"x": np.array([4.0], np.float32)})
        assert (float(found.outputs["y"][0]), found.version) == (8.0, 2)
        assert client.metadata(ModelRef("m")).version == 2
        with pytest.raises(RequestRejected):
            client.predict(ModelRef("m"), {"z": np.array([4.0], np.float32)})
        client.close()

    index = lines(folder)
    assert [(one["protocol"], one["version"], one["code"]) for one in index] == [
        ("rest", 2, "OK"),
        ("rest", None, "INVALID_ARGUMENT"),
        ("rest", 2, "OK"),
        ("rest", 7, "NOT_FOUND"),
        ("rest", 2, "OK"),
        ("grpc", 2, "OK"),
        ("grpc", None, "INVALID_ARGUMENT"),
    ]
    logs = [request.log.predict_log for request in read_recording(folder)]
    assert [tensors.from_proto(log.request.inputs["x"]).tolist() for log in logs] == [[1.5, 2.0]] * 3 + [[4.0]]
    assert [tensors.from_proto(log.response.outputs["y"]).tolist() for log in logs] == [[3.0, 4.0]] * 3 + [[8.0]]
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


@pytest.mark.server
def test_deadlines_headers_and_status_pass_through_the_proxy(server: ServerRecord, tmp_path: Path) -> None:
    """Deadlines and headers reach the server, and its status comes back."""
    with (
        proxy(server, tmp_path / "recording") as (port, _),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        predict: Any = channel.unary_unary(PREDICT)
        with pytest.raises(grpc.RpcError) as refused:
            predict(b"\xff\xff", metadata=[("user-id", "7"), ("trace-bin", b"\0\1")], timeout=30)
        assert refused.value.code() is grpc.StatusCode.INTERNAL
        nothing: Any = channel.unary_unary("/tensorflow.serving.PredictionService/Nothing")
        with pytest.raises(grpc.RpcError) as unknown:
            nothing(b"", timeout=30)
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.server
def test_a_stuck_disk_stops_no_client(server: ServerRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are answered while the log cannot write; what waited is written afterwards."""
    gate, original = threading.Event(), RecordFiles.append

    def stuck(self: RecordFiles, entries: Any) -> None:
        gate.wait()
        original(self, entries)

    monkeypatch.setattr(RecordFiles, "append", stuck)
    folder = tmp_path / "recording"
    try:
        with proxy(server, folder) as (port, _):
            for _ in range(20):
                assert ask(port, "/v1/models/m:predict", b'{"instances": [1.0]}')[0] == 200
            assert lines(folder) == []
            gate.set()
            wait_for(lambda: len(lines(folder)) == 20)
    finally:
        gate.set()


@pytest.mark.server
def test_requests_to_a_server_that_has_ended_are_recorded_as_unavailable(
    server: ServerRecord, tmp_path: Path, run_cli: RunCli
) -> None:
    """Its requests fail as UNAVAILABLE, and are recorded as that. The proxy cannot listen on a port in use."""
    folder = tmp_path / "recording"
    with proxy(server, folder) as (port, _):
        taken = find_recorded(server.name, None, listen=f"127.0.0.1:{server.rest_port}")
        with pytest.raises(EngineError, match=r"^cannot listen on \S+: [^:]+$"), recording(taken, tmp_path / "other"):
            pass
        run_cli("stop", "m")
        assert ask(port, "/v1/models/m:predict", b'{"instances": [1.0]}')[0] == 503
        request = protos.PredictRequest(model_spec={"name": "m"})
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            predict: Any = channel.unary_unary(PREDICT)
            with pytest.raises(grpc.RpcError) as failed:
                predict(request.SerializeToString(), timeout=60)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        run_cli("serve", tmp_path / "m", "--engine", "embedded", "--detach", "--rest-port", "0", "--grpc-port", "0")
    assert [one["code"] for one in lines(folder)] == ["UNAVAILABLE", "UNAVAILABLE"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"listen": "x"}, "--listen x is not HOST:PORT"),
        ({"listen": "9" * 5000}, "is not HOST:PORT"),
        ({"url": "http://h:1"}, "need a port for the proxy"),
        ({"listen": "1", "url": "http://h:1"}, "the model at that address is not named"),
        ({"listen": "1", "url": "http://h:1", "server": "s", "model": "m"}, "contradict each other"),
        ({"listen": "1", "url": "h:1", "model": "m"}, "--url must begin with"),
        ({"listen": "1", "url": "http://h:1/v1/models/m", "model": "m"}, "--url names a model"),
        ({"listen": "1", "grpc_address": "h", "model": "m"}, "--grpc-address h is not HOST:PORT"),
    ],
)
def test_the_error_of_a_wrong_address_names_the_option(options: dict[str, str], message: str) -> None:
    """The error names the option."""
    values: dict[str, Any] = {"server": None, "model": None, **options}
    with pytest.raises(InvalidInput, match=message):
        find_recorded(values.pop("server"), values.pop("model"), **values)


def test_the_name_of_a_model_is_not_that_of_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint has both names."""
    shop = SimpleNamespace(name="shop", models=("house", "half"), rest_port=1, grpc_port=2)
    monkeypatch.setattr("tfsctl.engines.registry.records.running", lambda: [shop])
    with pytest.raises(NotFound, match="no running server is named 'half'") as refused:
        find_recorded("half", None)
    assert refused.value.hint == "tfsctl record shop --model half"


def test_the_proxy_may_know_one_address_only() -> None:
    """The proxy may know only one address of the server."""
    only = ProxiedModel(upstream_at(None, "gpu-1:8500"), "m", ("127.0.0.1", 1))
    assert only.server_name == "gpu-1:8500"
    assert only.logging is None
