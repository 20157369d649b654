"""`tfsctl ps`, `logs`, `restart` and `stop` over real containers, also those whose tfsctl was killed.

Run with `pytest -m docker`; without a daemon these fail rather than be skipped.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli_runner import RunCli
from real_docker import FREE, containers, docker
from waiting import eventually, wait_for

from tfsctl.engines.registry import records
from tfsctl.errors import ExitCode

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300), pytest.mark.usefixtures("_serves_standin")]


def listed(run_cli: RunCli) -> list[dict[str, Any]]:
    """What ps lists."""
    shown = run_cli("ps", "--json")
    assert shown.code == 0, shown.stderr
    servers: list[dict[str, Any]] = json.loads(shown.stdout)["servers"]
    return servers


def tfsctl(*arguments: object) -> subprocess.Popen[str]:
    """A tfsctl of its own, as a terminal would run it."""
    argv = [sys.executable, "-m", "tfsctl", *(str(argument) for argument in arguments)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def docker_runs_of(process: subprocess.Popen[str]) -> list[int]:
    """Stop a process where it is, so that it starts no more; the `docker run` that it had started."""
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: process.poll() is not None or state_of(process.pid) == "T")
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [child for child in children if b"\0run\0" in Path(f"/proc/{child}/cmdline").read_bytes()]


def state_of(pid: int) -> str:
    """A process's state as the kernel has it: T is stopped, Z ended; empty for no process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def is_running(pid: int) -> bool:
    """Whether a process has not ended."""
    return state_of(pid) not in ("", "Z")


def test_ps_and_logs_of_a_container(run_cli: RunCli, echo: Path, standin: str) -> None:
    """Its models, its use of CPU and memory, and its log until its end."""
    assert run_cli("serve", echo, "--detach", *FREE).code == 0
    (server,) = listed(run_cli)
    assert (server["name"], server["engine"], server["state"], server["pid"]) == ("echo", "docker", "running", None)
    assert [version["state"] for version in server["models"]["echo"]["versions"]] == ["AVAILABLE"]
    assert 20e6 < server["memory_bytes"] < 2e9
    assert server["cpu_percent"] >= 0
    assert (server["image"], server["bind_address"], server["pids_limit"]) == (standin, "127.0.0.1", 4096)
    eventually(lambda: listed(run_cli)[0]["health"], "healthy")
    assert "(healthy)" in run_cli("ps").stdout

    stamped = run_cli("logs", "--timestamps", "--tail", "1").stdout
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z ", stamped)
    assert run_cli("logs", "--since", "0s").stdout == ""
    assert "Successfully loaded" in run_cli("logs", "--since", "1h").stdout
    assert "Successfully loaded servable version {name: echo version: 1}" in run_cli("logs").stdout
    following = tfsctl("logs", "echo", "--follow", "--tail", "1")
    assert following.stdout is not None
    assert following.stdout.readline()
    assert run_cli("stop", "echo").code == 0
    following.communicate(timeout=240)
    assert following.returncode == 0
    assert (containers(), listed(run_cli)) == ([], [])


def test_an_ended_container_can_be_restarted(run_cli: RunCli, echo: Path) -> None:
    """It is listed, its log can be read, it gets the same ports, and `stop` removes it."""
    assert run_cli("serve", echo, "--detach", *FREE).code == 0
    (before,) = listed(run_cli)
    docker("kill", "tfsctl-echo")

    (ended,) = listed(run_cli)
    assert (ended["state"], ended["models"], ended["uptime_s"]) == ("exited (137)", {}, None)
    assert ended["exit_status"] == 137
    assert ended["cause"].startswith("it was killed")
    assert re.match(
        r"exited \(137\) \d+ s ago: it was killed, probably because memory ran out", run_cli("ps").stdout.split("\t")[5]
    )
    assert "Successfully loaded" in run_cli("logs", "echo").stdout
    assert records.running() == []

    restarted = run_cli("restart", "echo")
    assert restarted.code == 0, restarted.stderr
    (after,) = listed(run_cli)
    assert after["container"] != before["container"]
    assert (after["rest_port"], after["grpc_port"]) == (before["rest_port"], before["grpc_port"])
    assert run_cli("predict", "2").stdout == "2.0\n"

    docker("kill", "tfsctl-echo")
    assert run_cli("stop").stdout == "stopped echo\n"
    assert containers() == []


def test_a_container_without_a_record_is_found_by_its_labels(run_cli: RunCli, echo: Path) -> None:
    """Running, or created and never started."""
    command = shlex.split(run_cli("serve", echo, "--dry-run", *FREE).stdout)
    docker(*command[1:])
    deadline = time.monotonic() + 30
    while not (found := listed(run_cli))[0]["models"]["echo"]["versions"]:
        assert time.monotonic() < deadline, found
    assert found[0]["models"]["echo"]["versions"][0]["state"] == "AVAILABLE"
    assert found[0]["rest_port"] > 0
    refused = run_cli("restart", "echo")
    assert (refused.code, refused.stdout) == (ExitCode.FAILED, "")
    assert refused.stderr.startswith("error: the command line of echo is unknown\nhint: tfsctl stop echo")
    assert run_cli("stop", "--all").stdout == "stopped echo\n"

    docker("create", *(word for word in command[2:] if word != "--detach"))
    assert [server["state"] for server in listed(run_cli)] == ["created"]
    assert run_cli("stop", "echo").stdout == "stopped echo\n"
    assert containers() == []


def test_a_log_that_docker_does_not_keep_is_an_error(run_cli: RunCli, echo: Path) -> None:
    """Docker's message is not shown as a log line."""
    assert run_cli("serve", echo, "--docker-arg=--log-driver=none", "--detach", *FREE).code == 0
    shown = run_cli("logs", "echo")

    assert shown.code == ExitCode.DOCKER
    assert shown.stderr == "error: docker logs failed with status 1; its output is above\n"


def test_foreign_containers_are_left_alone(
    run_cli: RunCli, echo: Path, standin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without our label, or of another state directory."""
    stranger = docker("run", "--detach", standin)
    try:
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv("TFSCTL_STATE_DIR", str(echo.parent / "elsewhere"))
            assert run_cli("serve", echo, "--name", "theirs", "--detach", *FREE).code == 0
        assert listed(run_cli) == []
        assert run_cli("stop", "--all").stdout == ""
        running = docker("ps", "--no-trunc", "--format", "{{.Names}} {{.ID}}")
        assert "tfsctl-theirs" in running
        assert stranger in running
    finally:
        docker("rm", "--force", stranger, "tfsctl-theirs")


def test_a_killed_serve_leaves_nothing_that_ps_does_not_list(run_cli: RunCli, echo: Path) -> None:
    """Whenever it is killed, also during `docker run`."""
    found = 0
    for moment in (0.3, 0.6, 1.2, None):
        process = tfsctl("serve", echo, "--detach", *FREE)
        if moment is not None:
            time.sleep(moment)
        while moment is None and not containers():
            pass  # at the very moment there is a container
        under_way = docker_runs_of(process)
        process.kill()
        process.communicate(timeout=60)
        for run in under_way:
            eventually(partial(is_running, run), False)
        assert [f"tfsctl-{server['name']}" for server in listed(run_cli)] == containers()
        found += len(containers())

        assert run_cli("stop", "--all").code == 0
        assert containers() == []
    assert found, "no moment was late enough"
