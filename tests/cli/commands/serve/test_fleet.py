"""`tfsctl ps`, `logs`, `restart` and `stop` over servers that are processes; those in containers are in tests/docker."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cli_runner import RunCli
from echo_models import write_echo_model
from model_servers import resident_mb
from waiting import PATIENCE_S, wait_for

from tfsctl.engines import state_dir
from tfsctl.engines.registry import records, usage
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import ExitCode

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("_nothing_is_left")]

FREE = ("--rest-port", "0", "--grpc-port", "0")


def tfsctl(*arguments: object) -> subprocess.Popen[str]:
    """Run tfsctl as a process."""
    argv = [sys.executable, "-m", "tfsctl", *(str(argument) for argument in arguments)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def processes_of_ours() -> set[int]:
    """Every process started with this test's state directory, found without asking tfsctl."""
    ours = f"TFSCTL_STATE_DIR={os.environ['TFSCTL_STATE_DIR']}".encode()
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                state_dir = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
                if state_dir not in "ZX" and ours in (entry / "environ").read_bytes().split(b"\0"):
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


def settled(run_cli: RunCli) -> list[dict[str, Any]]:
    """The processes that ps lists, once all have a name: a child that was just forked has none."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        left = processes_of_ours()
        servers: list[dict[str, Any]] = json.loads(run_cli("ps", "--json").stdout)["servers"]
        listed = {server["pid"] for server in servers}
        if bool(listed) == bool(left) and listed <= left:
            return servers
        assert time.monotonic() < deadline, (listed, left)


def test_ps_lists_servers_and_models(run_cli: RunCli, echo: Path) -> None:
    """The versions that the server reports, its ports, and its CPU and memory."""
    assert run_cli("serve", echo, "--engine", "embedded", "--detach", *FREE).code == 0
    (server,) = records.running()
    assert server.pid is not None
    write_echo_model(echo / "2")

    (document,) = json.loads(run_cli("ps", "--json").stdout)["servers"]
    assert {name: document[name] for name in ("name", "engine", "rest_port", "grpc_port", "pid", "state")} == {
        "name": "echo",
        "engine": "embedded",
        "rest_port": server.rest_port,
        "grpc_port": server.grpc_port,
        "pid": server.pid,
        "state": "running",
    }
    assert document["models"]["echo"]["error"] is None
    assert document["models"]["echo"]["versions"][-1]["state"] in {"AVAILABLE", "UNLOADING", "END"}
    assert document["memory_bytes"] / 1e6 == pytest.approx(resident_mb(server.pid), rel=0.2)
    assert 0 <= document["cpu_percent"] < 100 * (os.cpu_count() or 1) + 50
    assert 0 < document["uptime_s"] < 60

    name, engine, models, rest, grpc, status, cpu, memory, image = run_cli("ps").stdout.rstrip("\n").split("\t")
    assert (name, engine, rest, grpc) == ("echo", "embedded", str(server.rest_port), str(server.grpc_port))
    assert models.startswith("echo ")
    assert models.endswith(" AVAILABLE")
    assert status.startswith("up ")
    assert cpu.endswith("%")
    assert memory.endswith(" MB")
    assert image == "-"


@pytest.mark.usefixtures("fake")
def test_ps_lists_a_server_that_does_not_answer(run_cli: RunCli, echo: Path) -> None:
    """A server that hangs delays the list by at most two seconds; the others are listed."""
    assert run_cli("serve", echo, "--engine", "binary", "--detach", *FREE).code == 0
    assert run_cli("serve", echo, "--engine", "binary", "--name", "other", "--detach", *FREE).code == 0
    hung = records.running()[0]
    assert hung.pid is not None
    os.kill(hung.pid, signal.SIGSTOP)
    begin = time.monotonic()
    servers = json.loads(run_cli("ps", "--json").stdout)["servers"]
    os.kill(hung.pid, signal.SIGCONT)

    assert time.monotonic() - begin < 60  # it never answers
    assert [server["name"] for server in servers] == ["echo", "other"]
    assert servers[0]["models"]["echo"]["versions"] == []
    assert "127.0.0.1" in servers[0]["models"]["echo"]["error"]
    assert servers[1]["models"]["other"]["versions"][0]["state"] == "AVAILABLE"


def test_ps_keeps_containers_without_the_daemon(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state is unknown, and stop prints why it cannot stop the container."""
    program = tmp_path / "bin/docker"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon at unix:///x.' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    records.register(ServerRecord("far", "docker", "127.0.0.1", 1, 2, ("m",), None, "0" * 64, time.time(), None))

    shown = run_cli("ps")
    assert shown.stdout.split("\t") == ["far", "docker", "m", "1", "2", "unknown", "-", "-", "-\n"]
    assert shown.stderr.startswith("note: the Docker daemon does not respond")
    for command in ("stop", "logs"):
        refused = run_cli(command, "far")
        assert (refused.code, refused.stdout) == (ExitCode.DOCKER, ""), command
    assert [server.record.name for server in records.list_servers()] == ["far"]
    records.unregister(records.list_servers()[0].record)


def test_ps_without_servers(run_cli: RunCli) -> None:
    """Stdout is empty, or has an empty list with --json; stderr has the next step."""
    shown = run_cli("ps")

    assert (shown.code, shown.stdout) == (0, "")
    assert shown.stderr == "no servers are running; start one with: tfsctl serve PATH\n"
    assert json.loads(run_cli("ps", "--json").stdout) == {"servers": []}


def test_usage_includes_child_processes(tmp_path: Path) -> None:
    """CPU time and memory of the whole session; a session that has ended is left out."""
    script = tmp_path / "busy.sh"
    script.write_text(f"{sys.executable} -c 'x = bytearray(10**8)\nwhile True: pass' & wait\n")
    process = subprocess.Popen(["sh", str(script)], start_new_session=True)
    try:
        wait_for(lambda: usage.process_usage([process.pid])[process.pid].memory_bytes >= 10**8)
        assert usage.process_usage([process.pid, 2**22])[process.pid].cpu_percent > 1
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert usage.process_usage([process.pid]) == {}


@pytest.mark.parametrize(
    ("text", "size"),
    [("126.4MiB", 132_540_006), ("1.2kB", 1200), ("7GiB", 7 * 2**30), ("0B", 0), ("3.5GB", 3_500_000_000), ("--", 0)],
)
def test_sizes_of_docker_are_read_in_both_kinds_of_units(text: str, size: int) -> None:
    """In powers of 1024 or of 1000."""
    assert usage.parse_size(text) == size


@pytest.mark.usefixtures("fake")
def test_a_killed_server_is_known_until_it_is_stopped(run_cli: RunCli, echo: Path) -> None:
    """`ps --all` tells how it ended and why, `predict` names it, `logs` and `restart` work, and `stop` removes it."""
    assert run_cli("serve", echo, "--engine", "binary", "--detach", *FREE).code == 0
    (record,) = records.running()
    assert record.pid is not None
    os.kill(record.pid, signal.SIGKILL)
    wait_for(lambda: [each.exit is not None for each in records.list_servers()] == [True])

    assert json.loads(run_cli("ps", "--json").stdout) == {"servers": []}
    (document,) = json.loads(run_cli("ps", "--all", "--json").stdout)["servers"]
    assert (document["state"], document["exit_status"], document["uptime_s"]) == ("ended", -9, None)
    assert document["cause"] == "it was killed, probably because memory ran out"
    assert document["ended_at"] <= time.time()
    status = run_cli("ps", "--all").stdout.split("\t")[5]
    assert re.fullmatch(r"ended \(SIGKILL\) \d+ (s|min) ago: it was killed, probably because memory ran out", status)

    refused = run_cli("predict", "1")
    assert refused.code == ExitCode.NOT_FOUND
    assert "error: no model server is running: echo has ended (SIGKILL)\n" in refused.stderr
    assert "hint: tfsctl restart echo\n" in refused.stderr
    shown = run_cli("logs", "echo")
    assert (shown.code, shown.stderr) == (0, "note: echo has ended; this is the log of its last run\n")

    assert run_cli("restart", "echo").code == 0
    (again,) = records.running()
    assert (again.rest_port, again.grpc_port) == (record.rest_port, record.grpc_port)
    assert again.pid is not None
    os.kill(again.pid, signal.SIGKILL)
    wait_for(lambda: [each.exit is not None for each in records.list_servers()] == [True])
    assert run_cli("stop", "echo").stdout == "removed echo, which had ended\n"
    assert records.list_servers() == []


@pytest.mark.usefixtures("fake")
def test_a_new_server_takes_the_name_of_an_ended_one(run_cli: RunCli, echo: Path) -> None:
    """Only a server that runs keeps its name."""
    assert run_cli("serve", echo, "--engine", "binary", "--detach", *FREE).code == 0
    (record,) = records.running()
    assert record.pid is not None
    os.kill(record.pid, signal.SIGKILL)
    wait_for(lambda: records.running() == [])

    assert run_cli("serve", echo, "--engine", "binary", "--detach", *FREE).code == 0
    assert [each.name for each in records.running()] == ["echo"]


@pytest.mark.usefixtures("fake")
def test_logs_of_running_and_ended_servers(run_cli: RunCli, echo: Path) -> None:
    """The whole log or its end; the file is kept until the next server with the name starts."""
    assert run_cli("serve", echo, "--engine", "binary", "--detach", *FREE).code == 0
    shown = run_cli("logs", "echo")
    assert (shown.code, shown.stderr) == (0, "")
    assert shown.stdout.startswith("fake model server: {")
    assert run_cli("stop").code == 0

    last = run_cli("logs", "echo", "--tail", "1")
    assert last.stdout == "fake model server: terminated\n"
    assert last.stderr == "note: echo is not running; this is the log of its last run\n"
    assert run_cli("logs", "echo", "--tail", "0").stdout == ""
    assert run_cli("logs").code == ExitCode.NOT_FOUND
    unknown = run_cli("logs", "ecko")
    assert (unknown.code, unknown.stdout) == (ExitCode.NOT_FOUND, "")
    assert (
        unknown.stderr == "error: no server named ecko is running (running: none)\nhint: tfsctl serve PATH starts one\n"
    )


@pytest.mark.usefixtures("fake")
def test_logs_are_followed_until_the_server_ends(run_cli: RunCli, echo: Path) -> None:
    """The last line is printed too, and the command ends with the server."""
    assert run_cli("serve", echo, "--engine", "binary", "--detach", *FREE).code == 0
    process = tfsctl("logs", "echo", "--follow", "--tail", "1")
    assert process.stdout is not None
    assert process.stdout.readline().endswith('"GET /v1/models/echo HTTP/1.1" 200 -\n')

    assert run_cli("stop").code == 0
    stdout, stderr = process.communicate(timeout=240)
    assert (process.returncode, stdout, stderr) == (0, "fake model server: terminated\n", "")


@pytest.mark.usefixtures("fake")
def test_several_logs_are_followed_until_all_servers_end(run_cli: RunCli, echo: Path) -> None:
    """Lines appear as they are written, each with the name of its server."""
    for name in ("one", "three"):
        assert run_cli("serve", echo, "--engine", "binary", "--name", name, "--detach", *FREE).code == 0
    process = tfsctl("logs", "one", "three", "--follow", "--tail", "1")
    assert process.stdout is not None
    assert sorted(process.stdout.readline()[:8] for _ in range(2)) == ["one   | ", "three | "]
    written = {record.name: Path(record.log_path or "") for record in records.running()}
    for name, line in (("three", "three | hello\n"), ("one", "one   | hello\n"), ("three", "three | hello\n")):
        with written[name].open("a") as log:
            log.write("hello\n")
        assert process.stdout.readline() == line
    assert run_cli("stop", "one").code == 0
    assert run_cli("stop", "three").code == 0
    stdout, stderr = process.communicate(timeout=240)
    ends = [line for line in stdout.splitlines() if "terminated" in line]
    assert sorted(ends) == ["one   | fake model server: terminated", "three | fake model server: terminated"]
    assert process.returncode == 0
    assert stderr in ("note: one has ended\n", "note: three has ended\n")  # of the first


@pytest.mark.parametrize("engine", ["embedded", "binary"])
def test_killed_serve_is_found_by_ps_and_stop(
    run_cli: RunCli, echo: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    """Killed at any time, also between the start of the server and its registration."""
    if engine == "binary":
        request.getfixturevalue("fake")
    listed = 0
    for moment in (0.2, 0.4, 1.0, None, None):
        process = tfsctl("serve", echo, "--engine", engine, "--detach", *FREE)
        if moment is not None:
            time.sleep(moment)
        while moment is None and len(processes_of_ours()) < 2:
            pass  # at the very moment there is a server
        process.kill()
        process.communicate()
        servers = settled(run_cli)
        listed += len(servers)

        stopped = json.loads(run_cli("stop", "--all", "--json").stdout)["stopped"]
        assert stopped == ["echo"] * len(servers)
        wait_for(lambda: processes_of_ours() == set())
    assert listed, "no moment was late enough"


@pytest.mark.usefixtures("fake")
def test_server_without_a_record_is_discovered(run_cli: RunCli, echo: Path) -> None:
    """It is listed with its known facts; a server of another state directory is not listed."""
    assert run_cli("serve", echo, "--engine", "binary", "--detach", *FREE).code == 0
    (before,) = json.loads(run_cli("ps", "--json").stdout)["servers"]
    records.unregister(records.running()[0])

    (after,) = json.loads(run_cli("ps", "--json").stdout)["servers"]
    for varies in ("uptime_s", "started_at", "cpu_percent", "memory_bytes"):
        del before[varies], after[varies]
    assert after == before
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setenv("TFSCTL_STATE_DIR", str(echo.parent / "elsewhere"))
        assert run_cli("stop", "--all").stdout == ""
    assert run_cli("stop", "echo").stdout == "stopped echo\n"
    wait_for(lambda: processes_of_ours() == set())


def test_restart_keeps_ports_and_options(run_cli: RunCli, echo: Path) -> None:
    """The ports are kept, also those chosen for port 0; `ready` is printed when the server answers."""
    assert run_cli("serve", echo, "--engine", "embedded", "--name", "again", "--detach", *FREE).code == 0
    (before,) = records.running()
    write_echo_model(echo / "2")

    restarted = run_cli("restart", "--json")
    assert restarted.code == 0, restarted.stderr
    document = json.loads(restarted.stdout)
    assert document["pid"] != before.pid
    for same in ("name", "engine", "host", "rest_port", "grpc_port", "log_path"):
        assert document[same] == getattr(before, same)
    assert json.loads(run_cli("predict", "3", "--json").stdout)["version"] == 2
    assert [server.pid for server in records.running()] == [document["pid"]]


@pytest.mark.usefixtures("fake")
def test_restart_checks_before_stopping(run_cli: RunCli, echo: Path) -> None:
    """A model that cannot be served is found before the server is stopped."""
    assert run_cli("serve", echo, "--engine", "binary", "--detach", *FREE).code == 0
    (before,) = records.running()
    (echo / "1/saved_model.pb").unlink()

    refused = run_cli("restart", "echo")
    assert (refused.code, refused.stdout) == (ExitCode.NOT_FOUND, "")
    assert records.running() == [before]


@pytest.mark.usefixtures("fake")
def test_failed_restart_is_reported(run_cli: RunCli, echo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the end of the log; the server has ended."""
    assert run_cli("serve", echo, "--engine", "binary", "--detach", *FREE).code == 0
    monkeypatch.setenv("FAKE_DIES", "3")

    failed = run_cli("restart", "echo")
    assert (failed.code, failed.stdout) == (ExitCode.FAILED, "")
    assert (
        "error: echo was stopped and could not be started again: the model server ended with status 3" in failed.stderr
    )
    assert "Check failed: it cannot live\n" in failed.stderr
    assert records.running() == []


@pytest.mark.usefixtures("fake")
def test_interrupted_restart_is_reported(run_cli: RunCli, echo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C, a message says that the server was stopped."""
    assert run_cli("serve", echo, "--engine", "binary", "--detach", *FREE).code == 0
    (before,) = records.running()
    monkeypatch.setenv("FAKE_LOAD_S", "60")
    restarting = tfsctl("restart", "echo")
    while [server.pid for server in records.running()] in ([], [before.pid]):
        time.sleep(0.05)
    restarting.send_signal(signal.SIGINT)

    _, stderr = restarting.communicate(timeout=240)
    assert restarting.returncode == ExitCode.INTERRUPTED
    assert stderr.splitlines()[-1] == "echo was stopped and not started again; start it with: tfsctl serve PATH"
    assert records.running() == []


@pytest.mark.usefixtures("fake")
def test_foreground_server_restarts_in_background(run_cli: RunCli, echo: Path) -> None:
    """The foreground command ends, and the new server keeps running."""
    process = tfsctl("serve", echo / "1", "--engine", "binary", "--json", *FREE)  # one version needs a config file
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())

    assert run_cli("restart").code == 0
    _, stderr = process.communicate(timeout=240)
    assert (process.returncode, stderr.splitlines()[-1]) == (0, "echo has ended")
    (server,) = records.running()
    assert (server.rest_port, server.pid != first["pid"]) == (first["rest_port"], True)
    assert list((state_dir.base() / "configs/echo").rglob("models.config"))
    assert run_cli("stop").code == 0
    assert not (state_dir.base() / "configs/echo").exists()


@pytest.mark.usefixtures("fake")
def test_stop_and_logs_take_several_names(run_cli: RunCli, echo: Path) -> None:
    """A wrong name stops nothing. Each line of several logs begins with the name of the server."""
    for name in ("one", "two", "three"):
        assert run_cli("serve", echo, "--engine", "binary", "--name", name, "--detach", *FREE).code == 0
    for record in records.running():
        Path(record.log_path or "").write_text(f"hello from {record.name}\n")

    assert run_cli("logs", "two", "one").stdout == "two | hello from two\none | hello from one\n"
    padded = "three | hello from three\none   | hello from one\n"
    assert run_cli("logs", "three", "one", "three").stdout == padded
    assert run_cli("logs", "three", "nothing", "--follow").code == ExitCode.NOT_FOUND
    assert run_cli("stop", "one", "nothing").code == ExitCode.NOT_FOUND
    assert len(records.running()) == 3
    assert run_cli("stop", "three", "one", "one").stdout == "stopped three\nstopped one\n"
    assert [record.name for record in records.running()] == ["two"]
    assert run_cli("stop", "two", "--all").code == ExitCode.USAGE


@pytest.mark.usefixtures("fake")
def test_stop_says_what_it_waits_for(run_cli: RunCli, echo: Path) -> None:
    """A process that hangs is killed after a while; until then a note says what the command waits for."""
    assert run_cli("serve", echo, "--engine", "binary", "--detach", *FREE).code == 0
    (record,) = records.running()
    assert record.pid is not None
    os.kill(record.pid, signal.SIGSTOP)
    with tfsctl("stop", "echo") as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(f"waiting for process {record.pid} of echo to end; it is killed ")
        os.kill(record.pid, signal.SIGCONT)
        assert process.wait(60) == 0
    assert records.list_servers() == []
