"""`tfsctl label`, `promote` and `rollback` on containers: the labels move by the reload call, and a restart keeps them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runner import RunCli, document
from real_docker import FREE, docker
from scale_models import write_scale_model
from waiting import eventually

import tfsctl
from tfsctl.errors import TfsctlError

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300), pytest.mark.usefixtures("_serves_standin")]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The model `scale` of three versions, which multiply by their numbers."""
    for version in (1, 2, 3):
        write_scale_model(tmp_path / "scale" / str(version), float(version))
    return tmp_path / "scale"


def answer(port: int, label: str | None) -> float | None:
    """What the model answers for 1: the number of its version; None if there is no answer."""
    try:
        with tfsctl.connect(f"127.0.0.1:{port}", model="scale", label=label) as client:
            return float(client.predict(1.0)["y"][0])
    except TfsctlError:
        return None


def test_a_container_that_docker_restarts_keeps_its_labels(base: Path, run_cli: RunCli) -> None:
    """It was started with a config file, which a move has rewritten."""
    model = f"scale={base},versions=1,2,labels=stable:1"
    served = document(run_cli, "serve", "--model", model, "--name", "scale", "--detach", *FREE)
    promoted = document(run_cli, "promote", "scale", "--version", "3")
    assert (promoted["labels"], promoted["loaded"]) == ({"stable": 3, "previous": 1}, [1, 2, 3])
    assert promoted["notes"] == []
    docker("restart", "tfsctl-scale")
    port = document(run_cli, "ps")["servers"][0]["grpc_port"]
    eventually(lambda: answer(port, "stable"), 3.0)
    back = document(run_cli, "rollback", "scale")
    assert (back["labels"], back["released"]) == ({"stable": 1}, [3])
    assert answer(port, "stable") == 1
    assert served["container"]


def test_a_container_without_a_config_file(base: Path, run_cli: RunCli) -> None:
    """A note says that Docker would start it without labels; `tfsctl restart` makes them permanent."""
    document(run_cli, "serve", base, "--detach", "--restart", "always", *FREE)
    labelled = document(run_cli, "label", "scale", "stable=2")
    assert (labelled["labels"], labelled["loaded"]) == ({"stable": 2}, [2])
    assert "tfsctl restart scale makes the labels permanent" in labelled["notes"][0]
    restarted = document(run_cli, "restart", "scale")
    assert [answer(restarted["grpc_port"], label) for label in ("stable", None)] == [2, 2]
    assert document(run_cli, "promote", "scale")["notes"] == []
    docker("restart", "tfsctl-scale")
    port = document(run_cli, "ps")["servers"][0]["grpc_port"]
    eventually(lambda: answer(port, "stable"), 3.0)


def test_a_comparison_of_two_versions_in_a_container(base: Path, run_cli: RunCli, tmp_path: Path) -> None:
    """Versions and labels of a container are compared where they are served, over both protocols."""
    (tmp_path / "rows.csv").write_text("x\n" + "1\n" * 40, encoding="utf-8")
    model = f"scale={base},versions=1,2,labels=stable:1"
    document(run_cli, "serve", "--model", model, "--name", "scale", "--detach", *FREE)
    rows = ("--file", tmp_path / "rows.csv")
    worse = run_cli("compare", "scale@stable", "scale@2", *rows, "--fail-if", "agreement<1", "--json")
    same = document(run_cli, "compare", "scale@1", "scale@stable", *rows, "--fail-if", "agreement<1", "--rest")
    found = json.loads(worse.stdout)
    assert (worse.code, found["agreement"], found["a"]["version"], found["b"]["version"]) == (7, 0.0, 1, 2)
    assert (same["passed"], same["agreement"], same["rows"]) == (True, 1.0, 40)
