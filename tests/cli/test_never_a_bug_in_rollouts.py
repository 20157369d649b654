"""Exit code 70 is never reached by damaged recordings, config files, journals, records and states of fronts.

As `test_never_a_bug.py`, for the commands about versions and rollouts. All cases are seeded.
"""

from __future__ import annotations

import json
import os
import random
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tfrecords
from cli_runner import RunCli
from mutating_server import Mutations, mutating_grpc, mutating_rest

from tfsctl.core import protos, tensors
from tfsctl.engines import state_dir
from tfsctl.engines.registry import records
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import ExitCode
from tfsctl.programs import processes
from tfsctl.rollout.front import operations
from tfsctl.rollout.front.front_files import FrontState, SlotState
from tfsctl.rollout.front.rollout_state import Rollout, RolloutPlan

EXPECTED = [code for code in ExitCode if code != ExitCode.BUG]


def failed(result: Any) -> bool:
    """Whether a command ended as a bug, or with an undocumented exit code."""
    return result.code not in EXPECTED or "this is a bug in tfsctl" in result.stderr


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file of rows, and no docker."""
    monkeypatch.setenv("PATH", "/nonexistent")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("rows.csv").write_text("x,t\n1,a\n2,b\n")
    return tmp_path / "work"


def write_recording(path: Path, mutations: Mutations) -> None:
    """A recording with an index, both damaged."""
    logs, lines = [], []
    for number in range(3):
        log = protos.PredictionLog()
        log.log_metadata.timestamp_secs = 100 + number
        request = log.predict_log.request
        request.model_spec.name, request.model_spec.signature_name = "m", "serving_default"
        request.inputs["x"].CopyFrom(tensors.to_proto(np.array([1.5, 2.5], np.float32)))
        logs.append(mutations.message(log.SerializeToString()))
        lines.append(mutations.body({"code": "OK", "time": 100.25 + number / 4, "record": number, "latency_ms": 2.0}))
    tfrecords.write_records(path, logs)
    if mutations.random.random() < 0.3:
        path.write_bytes(mutations.message(path.read_bytes()))
    path.with_suffix(".jsonl").write_bytes(b"\n".join(lines))


@pytest.mark.parametrize("command", ["skew", "replay", "compare", "predict", "warmup"])
def test_no_recording_ends_with_a_bug(run_cli: RunCli, place: Path, echo_dir: Path, command: str) -> None:
    """Damaged records, indexes and frames."""
    mutations = Mutations(random.Random(command), metadata_too=False)
    version = place / "m" / "7"
    version.parent.mkdir()
    version.symlink_to(echo_dir / "7")
    with mutating_grpc(Mutations(random.Random(7), metadata_too=False)) as port:
        address = ["--host", "127.0.0.1", "--port", str(port), "--timeout", "5"]
        for seed in range(20):
            mutations.random.seed(seed)
            file = place / f"r{seed}.tfrecord"
            write_recording(file, mutations)
            argv = {
                "skew": ["skew", file, "rows.csv"],
                "replay": ["replay", file, "--model", "m", "--speed", "0", *address],
                "compare": ["compare", *[f"grpc://127.0.0.1:{port}/m@3"] * 2, "--file", file, "--format", "recording"],
                "predict": ["predict", "--grpc", "--model", "m", *address, "--file", file, "--format", "recording"],
                "warmup": ["warmup", place / "nothing" / str(seed), file],
            }[command]
            result = run_cli(*argv)
            assert not failed(result), (seed, argv, result.stderr[-3000:])


@pytest.mark.parametrize("over", ["rest", "grpc"])
def test_no_answer_of_a_comparison_ends_with_a_bug(run_cli: RunCli, place: Path, over: str) -> None:
    """Damaged answers of both sides, also with reports."""
    mutations = Mutations(random.Random(), metadata_too=True)
    (place / "labelled.csv").write_text("x,t,y\n" + "".join(f"{n},a,{n % 2}\n" for n in range(8)))
    with (mutating_rest if over == "rest" else mutating_grpc)(mutations) as port:
        side = f"http://127.0.0.1:{port}/v1/models/m/versions/3" if over == "rest" else f"grpc://127.0.0.1:{port}/m@3"
        for seed in range(25):
            mutations.random.seed(seed)
            mutations.metadata_too = seed % 3 == 0
            more = [
                ["--json"],
                ["--html", "r.html", "--junit", "r.xml"],
                ["--target", "y", "--task", "binary", "--score", "x", "--min-rows", "1", "--fail-if", "auc.delta<0"],
                ["--slice", "y", "--fail-if", "agreement<0.5"],
            ][seed % 4]
            argv = ["compare", side, side, "--file", "labelled.csv", "--timeout", "5", *more]
            result = run_cli(*argv)
            assert not failed(result), (seed, argv, result.stderr[-3000:])


CONFIGS = {
    "model-config": b'model_config_list { config { name: "m" base_path: "/tmp" model_platform: "tensorflow" '
    b'model_version_policy { specific { versions: 1 } } version_labels { key: "stable" value: 1 } } }',
    "batching": b"max_batch_size { value: 8 } batch_timeout_micros { value: 100 } allowed_batch_sizes: [2, 8]",
    "monitoring": b'prometheus_config { enable: true path: "/metrics" }',
    "tls": b'server_key: "-----BEGIN PRIVATE KEY-----" server_cert: "-----BEGIN CERTIFICATE-----" client_verify: false',
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # protobuf's reader of text warns of odd escapes
@pytest.mark.parametrize("kind", CONFIGS)
def test_lint_of_config_files(run_cli: RunCli, place: Path, kind: str) -> None:
    """Damaged text protos of each kind."""
    mutations = Mutations(random.Random(kind))
    for seed in range(40):
        text = mutations.message(CONFIGS[kind])
        if seed % 8 == 0:
            text = [b"", b"{" * 3000, b"\xff\xfe", b"a: " + b"9" * 5000, b'a: "' + b"\\" * 99][seed // 8]
        (place / "file").write_bytes(text)
        for argv in (["lint", "file"], ["lint", "file", "--kind", kind, "--json"]):
            result = run_cli(*argv)
            assert not failed(result), (seed, argv, text, result.stderr[-3000:])


def test_no_model_directory_ends_with_a_bug(run_cli: RunCli, place: Path, echo_dir: Path) -> None:
    """Damaged SavedModels, manifests, journals and directories in the place of files."""
    mutations = Mutations(random.Random(5))
    content = (echo_dir / "7" / "saved_model.pb").read_bytes()
    manifest = {
        "format": 2,
        "created": "2026-01-01T00:00:00Z",
        "files": {"saved_model.pb": "00"},
        "signatures": {"serving_default": {"samples": [{"x": 1}], "row_independent": True}},
        "source": {"file": "m.py"},
        "blessings": [{"baseline": 1, "passed": True}],
    }
    event = {"id": "1", "time": "2026-01-01T00:00:00Z", "kind": "exported", "version": 1, "user": "u", "labels": {}}
    for seed in range(20):
        base = place / f"m{seed}"
        for version in ("1", "2"):
            (base / version / "assets.extra").mkdir(parents=True)
            (base / version / "saved_model.pb").write_bytes(mutations.message(content))
            (base / version / "assets.extra" / "tfsctl_manifest.json").write_bytes(mutations.body(manifest))
            (base / version / "fingerprint.pb").write_bytes(mutations.message(b"\x08\x01\x10\x02"))
        (base / ".tfsctl-history.jsonl").write_bytes(b"\n".join(mutations.body(event) for _ in range(4)))
        if seed == 7:
            (base / "3" / "saved_model.pb").mkdir(parents=True)
        for argv in (
            ["lint", base],
            ["versions", base],
            ["versions", base, "--json"],
            ["history", base],
            ["history", base, "--json"],
            ["verify", base],
            ["models", place, "--json"],
            ["metadata", base, "--diff", "1", "2"],
            ["versions", "prune", base, "--keep", "1", "--dry-run"],
            ["versions", "rm", base, "1"],
        ):
            result = run_cli(*argv)
            assert not failed(result), (seed, argv, result.stderr[-3000:])


LABELS = [
    ("label", "ls", "m"),
    ("label", "ls", "m", "--json"),
    ("label", "m", "stable=3"),
    ("label", "rm", "m", "stable"),
    ("promote", "m"),
    ("promote", "m", "--version", "3"),
    ("rollback", "m"),
]


def test_labels_of_other_servers(run_cli: RunCli, place: Path) -> None:
    """Damaged config files and answers."""
    config = CONFIGS["model-config"].replace(b"/tmp", str(place / "m").encode())
    mutations = Mutations(random.Random(), metadata_too=True)
    with mutating_grpc(mutations) as port:
        for seed in range(28):
            mutations.random.seed(seed)
            (place / "models.config").write_bytes(mutations.message(config) if seed % 2 else config)
            argv = [
                *LABELS[seed % len(LABELS)],
                "--config",
                "models.config",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
            ]
            result = run_cli(*argv, "--wait-timeout", "0.2")
            assert not failed(result), (seed, argv, result.stderr[-3000:])


def front_state() -> dict[str, Any]:
    """The state of a front with a rollout, as a document."""
    plan = RolloutPlan("m", 2, (10.0,), 60.0, (100,), 0.01, "rollback", None, None, 60.0)
    rollout = Rollout(plan, 1, "user", time.time(), status="running")
    slots = {"a": SlotState((9, 9), None, {"m": [1]}), "b": SlotState((9, 9), None, {"m": [2]})}
    return asdict(FrontState(slots, {"m": 1}, "/nonexistent", rollout=rollout))  # type: ignore[arg-type] # names of slots


COMMANDS_OF_FRONTS = [
    ("ps", "--json"),
    ("rollout", "status", "m"),
    ("rollout", "status", "m", "--json"),
    ("rollout", "abort", "m"),
    ("canary", "m", "--version", "2", "--percent", "10", "--wait-timeout", "0.2"),
    ("ab", "m", "1=50", "2=50"),
    ("versions", "m"),
    ("label", "ls", "m"),
    ("record", "f", "--to", "recording", "--for", "0.1"),
    ("record", "f", "--stop"),
    ("restart", "f", "--wait-timeout", "0.2"),
    ("predict", "--model", "m", "1", "--timeout", "0.2"),
]


@pytest.mark.parametrize("argv", COMMANDS_OF_FRONTS, ids=" ".join)
@pytest.mark.usefixtures("place")
def test_no_record_or_state_of_a_front_ends_with_a_bug(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...]
) -> None:
    """Damaged records of servers, and states and commands of fronts."""
    monkeypatch.setattr(operations, "ANSWER_S", 0.2)  # no front is running
    mutations = Mutations(random.Random())
    server = ServerRecord("f", "embedded", "127.0.0.1", 9, 9, ("m",), os.getpid(), None, time.time(), None)
    identity = processes.process_identity(os.getpid())
    document = json.loads(
        json.dumps(server.to_document() | {"born": identity, "launch": {"front": True, "config": {}}})
    )
    file = state_dir.subfolder("servers") / "f.json"
    folder = state_dir.subfolder("fronts") / "f"
    folder.mkdir()
    state = json.loads(json.dumps(front_state()))
    for seed in range(6):
        mutations.random.seed(f"{argv} {seed}")
        text = json.dumps(state)
        broken = [text[: mutations.random.randrange(len(text))], "[" * 100_000, "3", "[]", "{}", '{"slots": []}', ""]
        damaged = [
            mutations.body(document),
            mutations.random.choice(broken).encode(),
            mutations.body({"id": "1", "action": "abort"}),
        ]
        file.write_bytes(damaged[0] if seed % 3 == 0 else json.dumps(document).encode())
        (folder / "state.json").write_bytes(mutations.body(state) if seed % 2 else damaged[1])
        (folder / "command.json").write_bytes(damaged[2])
        result = run_cli(*argv)
        assert not failed(result), (seed, argv, damaged, result.stderr[-3000:])
    assert records.running() is not None
