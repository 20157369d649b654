"""`tfsctl replay`: the pace, the count of late requests, and a recording that a server answers."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import tfrecords
from cli_runner import RunCli
from model_servers import Served

from tfsctl.core import protos, tensors
from tfsctl.errors import InvalidInput
from tfsctl.rollout.recording.replay import PacedRequest, paced_requests, percentiles, replay


def recorded(tmp_path: Path, count: int = 3, *, signature: str = "") -> Path:
    """A recording of Predict requests for the model `echo`, with an index that has one time a second."""
    logs, lines = [], ['{"code": "INTERNAL", "time": 99.0}']
    for number in range(count):
        log = protos.PredictionLog()
        log.log_metadata.timestamp_secs = 100 + number
        log.predict_log.request.model_spec.name = "recorded"
        log.predict_log.request.model_spec.version.value = 123
        log.predict_log.request.model_spec.signature_name = signature
        log.predict_log.request.inputs["x"].CopyFrom(tensors.to_proto(np.array([1.5], np.float32)))
        logs.append(log.SerializeToString())
        lines.append(json.dumps({"code": "OK", "time": 100.25 + number / 4, "record": number, "latency_ms": 2.0}))
    tfrecords.write_records(tmp_path / "r.tfrecord", logs)
    (tmp_path / "r.jsonl").write_text("\n".join(lines) + '\n{"code": "O')
    return tmp_path / "r.tfrecord"


def test_times_are_those_of_the_index(tmp_path: Path) -> None:
    """Without an index, those of the records."""
    path = recorded(tmp_path)
    assert [(one.offset_s, one.latency_ms) for one in paced_requests(path)] == [(0, 2.0), (0.25, 2.0), (0.5, 2.0)]
    (tmp_path / "r.jsonl").unlink()
    assert [(one.offset_s, one.latency_ms) for one in paced_requests(path)] == [(0, None), (1, None), (2, None)]
    path.write_bytes(b"")
    with pytest.raises(InvalidInput, match="has no requests"):
        list(paced_requests(path))


def test_no_request_is_sent_early_or_above_the_concurrency() -> None:
    """No request is sent before its time, and no more than allowed are under way."""
    log, lock, under_way, most = protos.PredictionLog(), threading.Lock(), 0, 0

    def send(_log: protos.PredictionLog) -> str:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        with lock:
            under_way -= 1
        return "OK"

    result = replay([PacedRequest(log, at / 10, 1.0) for at in range(4)], send, speed=2, concurrency=2)
    assert (result.requests, result.codes["OK"], len(result.recorded_ms)) == (4, 4, 4)
    assert result.seconds >= 0.15
    assert most <= 2
    fast = replay([PacedRequest(log, 1000.0 * at, None) for at in range(4)], send, speed=0, concurrency=2)
    assert (fast.requests, fast.late, fast.recorded_ms) == (4, 0, [])
    stopped = replay([PacedRequest(log, 1000.0, None)], send, speed=1, concurrency=1, is_stopped=lambda: True)
    assert stopped.requests == 0


def test_no_latencies_have_no_percentiles() -> None:
    """Without latencies there are no percentiles."""
    assert percentiles([]) is None
    assert percentiles(range(101)) == {"p50": 50, "p90": 90, "p99": 99, "max": 100}


def test_replay_to_another_model_counts_errors_by_code(served: Served, run_cli: RunCli, tmp_path: Path) -> None:
    """To another model than the recorded one; errors are counted by their codes."""
    target = ("--host", served.host, "--port", served.grpc_port, "--model", "echo", "--speed", "0")
    result = run_cli("replay", recorded(tmp_path), *target, "--json")
    document = json.loads(result.stdout)
    assert result.code == 0, result.stderr
    assert (document["requests"], document["model"], document["late"]) == (3, "echo", 0)
    assert sum(document["codes"].values()) == 3
    assert document["recorded_latency_ms"]["p50"] == 2
    failed = run_cli("replay", recorded(tmp_path, signature="nope"), *target)
    assert "FAILED_PRECONDITION: 3" in failed.stdout
    missing = run_cli("replay", recorded(tmp_path), *target[:4], "--model", "nope")
    assert missing.code == 4
    assert run_cli("replay", tmp_path / "nope", *target).code == 4
