"""What the process of a front writes to its state while it carries out commands, without Envoy and servers."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.rollout.front import backends, decisions, supervisor
from tfsctl.rollout.front.child_supervisor import ChildSupervisor
from tfsctl.rollout.front.envoy.admin import Statistics
from tfsctl.rollout.front.envoy.routes import PROTOCOLS, Document, route_document
from tfsctl.rollout.front.front_files import FrontFiles, FrontState, SlotState
from tfsctl.rollout.front.rollout_state import RolloutPlan
from tfsctl.rollout.front.supervisor import Supervisor
from tfsctl.serving_config.model_config import ModelConfig
from tfsctl.serving_config.serving_config import ServingConfig


def written_routes(files: FrontFiles) -> list[Document]:
    """The route files of both protocols."""
    return [json.loads((files.folder / f"{protocol}.json").read_text()) for protocol in PROTOCOLS]


@pytest.fixture
def front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    """A front of version 1. Its servers are always ready, and its Envoy uses routes as soon as they are written."""
    files = FrontFiles("front")
    files.write(FrontState({"a": SlotState((1, 2)), "b": SlotState((3, 4))}, {"m": 1}, str(tmp_path / "admin")))
    for version in ("1", "2"):
        (tmp_path / "m" / version).mkdir(parents=True)
        (tmp_path / "m" / version / "saved_model.pb").touch()

    def read_statistics(_admin: str) -> Statistics:
        versions = {
            f"http.{number}.version_text": one["version_info"] for number, one in enumerate(written_routes(files))
        }
        return Statistics(versions)

    monkeypatch.setattr(ChildSupervisor, "keep_running", lambda _self: None)
    monkeypatch.setattr(ChildSupervisor, "has_start_error", lambda *_: True)
    monkeypatch.setattr(backends, "is_ready", lambda *_: True)
    monkeypatch.setattr(supervisor, "read_statistics", read_statistics)
    config = ServingConfig((ModelConfig("m", str(tmp_path / "m")),), rest_port=0, grpc_port=0)
    return Supervisor(LaunchSpec("front", config, "127.0.0.1", front=True), "embedded", lambda _text: None)


def test_routes_are_in_effect_when_the_state_says_so(front: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands return as soon as a state says that its routes are in effect: the next request must be split already."""
    write = FrontFiles.write
    statuses: list[str] = []  # the status of each rollout whose routes are in effect

    def checked(files: FrontFiles, state: FrontState) -> None:
        if state.applied == state.generation:
            wanted = [route_document(decisions.routing(state), protocol, state.generation) for protocol in PROTOCOLS]
            assert written_routes(files) == wanted
            statuses.append("" if state.rollout is None else state.rollout.status)
        write(files, state)

    monkeypatch.setattr(FrontFiles, "write", checked)
    files, plan = FrontFiles("front"), RolloutPlan("m", 2, (10.0,), None, (1,))

    def send(action: str) -> None:
        files.write_command({"id": action, "action": action, "operator": "ann", "plan": asdict(plan), "shadow": None})

    def has_aborted() -> bool:
        if statuses[-1:] == ["running"]:
            send("abort")
        return statuses[-1:] == ["aborted"]

    send("canary")
    front.run(has_aborted)
    assert list(dict.fromkeys(statuses)) == ["starting", "running", "aborted"]
