"""`tfsctl label`, `promote`, `rollback`, `history` and `versions`, with real servers: embedded, and with a config file."""

from __future__ import annotations

import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cli_runner import RunCli, document
from locations import ROOT
from model_servers import running_flags
from scale_models import write_scale_model
from waiting import eventually

import tfsctl
from tfsctl.programs import subprocesses
from tfsctl.rollout.labels.label_changes import ChangeOptions, find_model, promote

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("_nothing_is_left")]
FREE = ("--rest-port", "0", "--grpc-port", "0")
# A check of a version in another process takes as much CPU as a server, with low priority. One test has it.
UNCHECKED = "--server-arg=--check_new_versions=never"
MODEL_SERVER = "tensorflow_model_server"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The model `scale` of three versions, which multiply by their numbers."""
    for version in (1, 2, 3):
        write_scale_model(tmp_path / "scale" / str(version), float(version))
    return tmp_path / "scale"


def answer(address: str, label: str | None = None) -> float:
    """The answer of the model for 1, which is the number of its version."""
    with tfsctl.connect(address, model="scale", label=label) as client:
        return float(client.predict(1.0)["y"][0])


@pytest.fixture(params=["embedded", "binary"])
def engine(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An engine; the program of `binary` is our own server under the name of TensorFlow Serving's."""
    if request.param == "binary":
        program = tmp_path / "bin" / MODEL_SERVER
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tfsctl.server "$@"\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return str(request.param)


@pytest.mark.long
def test_promote_rollback_and_restart(base: Path, engine: str, run_cli: RunCli) -> None:
    """From the first label to a restart, which keeps the labels; the history has each change.

    The embedded server checks new versions, as it does by default.
    """
    options = [UNCHECKED] if engine == "binary" else []
    served = document(run_cli, "serve", base, "--engine", engine, "--detach", *options, *FREE)
    address = f"127.0.0.1:{served['grpc_port']}"
    first = document(run_cli, "label", "scale", "stable=1", "canary=2")
    assert (first["labels"], first["loaded"], first["released"]) == ({"stable": 1, "canary": 2}, [1, 2], [3])
    promoted = document(run_cli, "promote", "scale", "-m", "v2")
    assert promoted["labels"] == {"stable": 2, "canary": 2, "previous": 1}
    assert promoted["seconds"] < 60  # measured: some hundredths of a second
    assert [answer(address, label) for label in ("stable", "previous")] == [2, 1]
    back = document(run_cli, "rollback", "scale")
    assert (back["labels"], back["unlabelled_version"]) == ({"stable": 1, "canary": 2}, 2)
    assert "requests without a label go to version 2" in back["notes"][0]
    removed = document(run_cli, "label", "rm", "scale", "canary")
    assert (removed["labels"], removed["loaded"], removed["released"]) == ({"stable": 1}, [1], [2])
    assert answer(address) == 1
    assert document(run_cli, "restart", "scale")["grpc_port"] == served["grpc_port"]
    assert document(run_cli, "label", "ls", "scale")["labels"] == {"stable": 1}
    assert answer(address, "stable") == answer(address) == 1
    events = document(run_cli, "history", base)["events"]
    assert [(one["action"], one["message"]) for one in events] == [
        ("label", ""),
        ("promote", "v2"),
        ("rollback", ""),
        ("label", ""),
    ]


def test_labels_of_a_server_that_polls_its_config_file(base: Path, run_cli: RunCli) -> None:
    """The server was started with labels and reads its file every second: the move stays."""
    poll = "--server-arg=--model_config_file_poll_wait_seconds=1"
    argument = f"scale={base},versions=1,2,labels=stable:1"
    served = document(run_cli, "serve", "--model", argument, "--engine", "embedded", "--detach", poll, UNCHECKED, *FREE)
    document(run_cli, "promote", "scale", "--version", "3")
    address, log = f"127.0.0.1:{served['grpc_port']}", Path(served["log_path"])
    marker = "(Re-)adding model: scale"
    reloads = log.read_text().count(marker)
    document(run_cli, "label", "scale", "canary=2")
    eventually(lambda: log.read_text().count(marker) > reloads, expected=True)

    assert (answer(address, "stable"), answer(address, "canary")) == (3, 2)


def test_a_server_with_a_config_file(base: Path, tmp_path: Path, run_cli: RunCli) -> None:
    """A server that tfsctl did not start: other models in its file stay, and the file is the same one."""
    shutil.copytree(base, tmp_path / "other")
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "scale" base_path: "{base}" model_platform: "tensorflow" }}\n'
        f'config {{ name: "other" base_path: "{tmp_path}/other" model_platform: "tensorflow" }} }}  # ours\n'
    )
    inode = config.stat().st_ino
    with running_flags([f"--model_config_file={config}"], tmp_path) as server:
        at = ("--config", config, "--host", server.host, "--port", server.grpc_port)
        change = document(run_cli, "label", "scale", "stable=2", "canary=3", *at)
        assert (change["labels"], change["loaded"]) == ({"stable": 2, "canary": 3}, [2, 3])
        assert document(run_cli, "promote", "scale", *at)["labels"] == {"stable": 3, "canary": 3, "previous": 2}
        assert answer(f"{server.host}:{server.grpc_port}", "stable") == 3
        with tfsctl.connect(f"{server.host}:{server.grpc_port}", model="other") as client:
            assert client.status()[0].version == 3
        missing = run_cli("label", "nobody", "stable=2", *at)
    assert (missing.code, config.stat().st_ino) == (4, inode)
    assert f"error: {config} has no model nobody (models: scale, other)" in missing.stderr
    with running_flags(
        [f"--model_config_file={config}", "--allow_version_labels_for_unavailable_models=true"], tmp_path
    ) as server:
        assert answer(f"{server.host}:{server.grpc_port}", "stable") == 3


def test_a_version_that_cannot_be_loaded(base: Path, run_cli: RunCli) -> None:
    """The error has the reason, and the previous state is restored."""
    document(run_cli, "serve", base / "1", "--engine", "embedded", "--detach", *FREE)
    (base / "2" / "saved_model.pb").write_bytes(b"not a model")
    failed = run_cli("label", "scale", "stable=2")

    assert failed.code == 1
    assert "the labels of scale were not changed, and the previous state is restored: version 2" in failed.stderr
    state = document(run_cli, "label", "ls", "scale")
    assert (state["labels"], state["loaded"]) == ({}, [1])


def test_versions_lists_states_on_disk_and_on_servers(base: Path, run_cli: RunCli) -> None:
    """On disk, on the server, and what may be removed."""
    document(run_cli, "serve", base, "--engine", "embedded", "--metrics", "--detach", UNCHECKED, *FREE)
    document(run_cli, "label", "scale", "stable=2")
    (model,) = document(run_cli, "versions")["models"]
    assert [one["version"] for one in model["versions"]] == [1, 2, 3]
    by_version = {one["version"]: one for one in model["versions"]}
    assert by_version[2]["served_by"] == [
        {"server": "scale", "model": "scale", "state": "AVAILABLE", "labels": ["stable"], "error_message": ""}
    ]
    assert by_version[1]["signatures"] == ["serving_default"]
    assert model["servers"][0]["requests"] is not None
    refused = run_cli("versions", "rm", base, "1", "2")
    assert (refused.code, (base / "1").is_dir()) == (1, True)
    assert "version 2 cannot be removed: the label stable of the server scale names it" in refused.stderr
    pruned = document(run_cli, "versions", "prune", "scale", "--keep", "1")
    assert (pruned["removed"], pruned["left"]) == ([1], [2, 3])
    assert pruned["notes"] == ["version 2 was kept: the label stable of the server scale names it"]
    with tfsctl.connect(model="scale") as client:
        assert [(one.version, [by.state for by in one.served_by]) for one in client.versions()] == [
            (2, ["AVAILABLE"]),
            (3, ["END"]),
        ]


def test_commands_at_the_same_time_wait_for_each_other(base: Path, run_cli: RunCli) -> None:
    """The second command prints what it waits for, and starts from the result of the first."""
    document(run_cli, "serve", base, "--engine", "embedded", "--detach", UNCHECKED, *FREE)
    tfsctl.label("scale", {"stable": 1})
    steps: list[str] = []
    options = ChangeOptions(show_step=steps.append)
    model = find_model("scale")
    with ThreadPoolExecutor() as threads:
        with model.locked(lambda: None):
            waiting = threads.submit(promote, find_model("scale"), version=2, options=options)
            eventually(lambda: list(steps), ["waiting for another command that changes the labels of scale"])
            assert model.config().labels == {"stable": 1}
        assert waiting.result().labels == {"stable": 2, "previous": 1}


def test_labels_can_be_changed_from_python(base: Path) -> None:
    """The same functions in Python, and errors with keyword arguments in their hints."""
    with tfsctl.serve(base, engine="embedded") as serving:
        assert tfsctl.label("scale", {"stable": 1}).labels == {"stable": 1}
        promoted = tfsctl.promote("scale", message="from Python")
        assert (promoted.labels, promoted.loaded) == ({"stable": 3, "previous": 1}, (1, 3))
        assert answer(serving.grpc_address, "stable") == 3
        assert tfsctl.rollback("scale").labels == {"stable": 1}
        with pytest.raises(tfsctl.NotFound, match="has no version 9"):
            tfsctl.promote("scale", version=9)


@pytest.mark.long
def test_no_request_is_lost_while_labels_move() -> None:
    """No request of either protocol is lost while labels move, versions load and are released.

    Without checks of versions: most requests would be sent while those two are checked, and none of them while labels move.
    """
    argv = [sys.executable, str(ROOT / "benchmarks" / "label_moves.py"), "--moves", "40", "--delay", "10", UNCHECKED]
    done = subprocesses.run(argv, timeout_s=600)
    figures = json.loads(done.stdout)

    assert (figures["failures"], figures["moves"]) == (0, 40)
    assert figures["requests"] > 40
    assert {kind: count["count"] for kind, count in figures["move_ms"].items()} == {
        "promote": 35,
        "promote_and_load": 3,
        "rollback": 2,
    }
