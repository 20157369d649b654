"""`tfsctl record`: what it refuses, what it counts, and a recording of a running server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cli_runner import RunCli
from scale_models import write_scale_model
from waiting import wait_for

from tfsctl.clients.grpc import GrpcClient
from tfsctl.core.types import ModelMetadata, ModelRef, Signature, TensorSpec
from tfsctl.engines.registry import records
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.rollout.recording.recorded_model import IndexReader, RecordedModel, check_rules, watch

TABLE = ModelMetadata(
    "m",
    1,
    {
        "serving_default": Signature(
            "serving_default", (TensorSpec("age", "float32", (None,)), TensorSpec("user", "string", (None,))), ()
        )
    },
)
EXAMPLES = ModelMetadata("m", 1, {"parse": Signature("parse", (TensorSpec("examples", "string", (None,)),), ())})


def test_inputs_that_are_not_there_are_refused() -> None:
    """A misspelt name must not record what it should hide."""
    assert check_rules(TABLE, ["age"], ["user"]) == []
    with pytest.raises(NotFound, match="m has no input 'usr'") as refused:
        check_rules(TABLE, ["usr"], [])
    assert refused.value.hint == "--drop user"
    with pytest.raises(InvalidInput, match="age is float32: only text and integers can be hashed"):
        check_rules(TABLE, [], ["age"])
    with pytest.raises(InvalidInput, match="cannot be used together"):
        check_rules(TABLE, ["user"], ["user"])
    (note,) = check_rules(EXAMPLES, ["email"], [])
    assert note == "email is not an input of m; --drop applies to it as a feature of tf.Examples"


def test_other_engines_are_refused() -> None:
    """TensorFlow Serving has no request log."""
    server = ServerRecord("s", "docker", "127.0.0.1", 1, 2, ("m",), None, "abc", 0.0, None)
    with pytest.raises(InvalidInput, match=r"s runs TensorFlow Serving \(docker\), whose public build has no request"):
        RecordedModel(server, None)
    both = ServerRecord("s", "embedded", "127.0.0.1", 1, 2, ("m", "n"), 1, None, 0.0, None)
    with pytest.raises(InvalidInput, match="s serves several models: m, n"):
        RecordedModel(both, None)
    with pytest.raises(NotFound, match="s serves no model x"):
        RecordedModel(both, "x")


def test_index_lines_are_counted_once(tmp_path: Path) -> None:
    """Also those that are written bit by bit; earlier recordings are not counted."""
    (tmp_path / "m-0.jsonl").write_text('{"code": "OK"}\n')
    reader = IndexReader(tmp_path, "m")
    index = tmp_path / "m-1.jsonl"
    index.write_text('{"code": "OK"}\n{"code": "INTER')
    (tmp_path / "m-1.tfrecord").write_bytes(b"x" * 30)
    assert (reader.update().requests, reader.counts.failed) == (1, 0)
    with index.open("a") as file:
        file.write('NAL"}\n{"dropped": 7}\n')
    counts = reader.update()
    assert (counts.requests, counts.failed, counts.dropped, counts.size) == (2, 1, 7, 30)
    assert counts.files == [tmp_path / "m-1.tfrecord"]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"is_stopped": lambda: True}, "stopped"),
        ({"duration_s": 0.0}, "duration"),
        ({"max_size": 0}, "max_size"),
        ({"has_ended": lambda: True}, "server_ended"),
    ],
)
def test_why_a_recording_ends(tmp_path: Path, limits: dict[str, object], reason: str) -> None:
    """By the user, the time, the size or the server."""
    settings: dict[str, object] = {
        "max_size": 1,
        "duration_s": None,
        "is_stopped": lambda: False,
        "has_ended": lambda: False,
        "show": lambda _counts: None,
    }
    assert watch(IndexReader(tmp_path, "m"), **{**settings, **limits}) == reason  # type: ignore[arg-type]


@pytest.fixture
def server(tmp_path: Path, run_cli: RunCli) -> Iterator[ServerRecord]:
    """A detached embedded server with the model `m`."""
    write_scale_model(tmp_path / "m" / "1", 2.0)
    started = run_cli(
        *("serve", tmp_path / "m", "--engine", "embedded", "--detach", "--rest-port", "0", "--grpc-port", "0")
    )
    assert started.code == 0, started.stderr
    yield records.running()[0]
    assert run_cli("stop", "m").code == 0


@pytest.mark.server
def test_a_recording_ends_at_its_size_and_leaves_the_server_as_before(
    server: ServerRecord, run_cli: RunCli, tmp_path: Path
) -> None:
    """Records until the size is reached; the server is as before then."""
    folder, requested, done = tmp_path / "recordings", threading.Event(), threading.Event()

    def ask() -> None:
        client = GrpcClient(server.host, server.grpc_port)
        wait_for(lambda: RecordedModel(server, None).logging is not None)
        while not done.is_set():
            client.predict(ModelRef("m"), {"x": np.ones(2, np.float32)})
            requested.set()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        result = run_cli("record", "m", "--to", folder, "--max-size", "2k", "--for", "200s", "--answers", "--json")
    finally:
        done.set()
        thread.join()

    document = json.loads(result.stdout)
    assert (result.code, document["ended_by"], document["failed"]) == (0, "max_size", 0)
    assert document["requests"] > 5
    assert document["bytes"] >= 2048
    assert "recording 100% of the requests of m" in result.stderr
    assert RecordedModel(server, None).logging is None
    rows = run_cli("predict", "--model", "m", "--file", folder, "--format", "recording")
    assert rows.code == 0, rows.stderr
    assert len(rows.stdout.splitlines()) == 2 * document["requests"]
    assert run_cli("record", "m", "--stop").stdout == "the requests of m are not recorded\n"
