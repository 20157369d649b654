"""`tfsctl serve --engine docker` against a real Docker Engine, with our own server in the place of the image's.

Run with `pytest -m docker`; without a daemon these fail rather than be skipped.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cli_runner import RunCli
from echo_models import write_echo_model
from ports import free_ports
from real_docker import FREE, containers, docker, inspect
from waiting import eventually, wait_for

from tfsctl.engines import state_dir
from tfsctl.engines.registry import records
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import ExitCode

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300), pytest.mark.usefixtures("_serves_standin")]
ODD = "-a b,\"c\"='d'\ne:$HOME `f` ü\\"  # what shells, CSV and Docker's options read in their own way


def test_a_detached_container_answers_until_it_is_stopped(run_cli: RunCli, echo: Path) -> None:
    """`auto` chooses Docker, and the printed commands work."""
    served = run_cli("serve", echo, "--engine", "auto", "--detach", *FREE)
    assert served.code == 0, served.stderr
    assert served.stderr.startswith("serving echo version 1 with docker (Docker ")
    (server,) = records.running()
    assert (server.engine, server.pid) == ("docker", None)

    *_, curl, predict = served.stdout.splitlines()
    answered = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=True)
    assert json.loads(answered.stdout) == {"predictions": [1.0]}
    _, *arguments = shlex.split(predict)
    assert run_cli(*arguments).stdout == "1.0\n"
    assert run_cli(*arguments, "--grpc").stdout == "1.0\n"

    assert run_cli("stop").stdout == "stopped echo\n"
    assert containers() == []
    assert records.running() == []


def test_the_container_matches_the_command_line(run_cli: RunCli, echo: Path, standin: str) -> None:
    """Ports on one address, a read-only mount, labels, a name, and no more rights."""
    rest_port, grpc_port = free_ports(2)
    served = run_cli("serve", echo, "--detach", "--json", "--rest-port", rest_port, "--grpc-port", grpc_port)
    found = inspect(json.loads(served.stdout)["container"])
    (mount,) = found["Mounts"]

    assert found["Name"] == "/tfsctl-echo"
    labels = found["Config"]["Labels"]
    assert {name: labels[name] for name in labels if name.startswith("tfsctl.")} == {
        "tfsctl.server": "echo",
        "tfsctl.models": "echo",
        "tfsctl.state": str(state_dir.base()),
    }
    assert found["Config"]["Image"] == standin
    assert "MODEL_NAME=echo" in found["Config"]["Env"]
    assert found["HostConfig"]["PortBindings"] == {
        "8500/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(grpc_port)}],
        "8501/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(rest_port)}],
    }
    assert (mount["Type"], mount["Source"], mount["Destination"]) == ("bind", str(echo), "/models/echo")
    assert mount["RW"] is False
    assert found["HostConfig"]["Init"] is True
    assert found["HostConfig"]["Privileged"] is False
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["HostConfig"]["Tmpfs"] == {"/tmp": ""}  # noqa: S108 - a directory of the container
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    assert found["HostConfig"]["SecurityOpt"] == ["no-new-privileges"]


def test_the_command_of_a_dry_run_can_be_pasted(run_cli: RunCli, echo: Path) -> None:
    """A shell runs it unchanged, unless it needs generated files: a dry run writes none."""
    odd = echo.rename(echo.parent / ODD)
    write_echo_model(odd / "2")
    line = run_cli("serve", odd, "--name", "echo", "--env", f"ODD={ODD}", "--dry-run", *FREE).stdout
    assert containers() == []

    subprocess.run(["sh", "-c", line], check=True, capture_output=True)
    assert containers() == ["tfsctl-echo"]
    found = inspect("tfsctl-echo")
    assert str(odd) in {mount["Source"] for mount in found["Mounts"]}
    assert f"ODD={ODD}" in found["Config"]["Env"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_foreground_container_ends_with_the_terminal(echo: Path, number: signal.Signals) -> None:
    """Its log was on stderr, the exit code is 0, and the container is removed."""
    process = start("serve", echo, "--json", *FREE)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["engine"] == "docker"
    assert containers() == ["tfsctl-echo"]

    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Successfully loaded servable version" in stderr
    assert stderr.endswith("echo has ended\n")
    assert containers() == []


def test_ctrl_c_before_ready_ends_with_130(echo: Path) -> None:
    """The container is removed."""
    process = start("serve", echo, *FREE)
    wait_for(containers)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)

    assert (process.returncode, containers()) in ((ExitCode.INTERRUPTED, []), (0, [])), stderr
    assert (process.returncode == 0) == ("press Ctrl-C to stop the server" in stderr)


def test_a_foreground_server_notices_a_lost_daemon(run_cli: RunCli, echo: Path, tmp_path: Path) -> None:
    """A socket that forwards to the daemon stands for it: it is closed, and the daemon is gone."""
    with forwarded_daemon(tmp_path / "docker.sock") as stop:
        process = start("serve", echo, "--json", *FREE, DOCKER_HOST=f"unix://{tmp_path}/docker.sock")
        assert process.stdout is not None
        assert process.stdout.readline()
        stop()
        _, stderr = process.communicate(timeout=60)

    assert process.returncode == ExitCode.DOCKER
    assert (
        "error: the Docker daemon no longer responds; echo may still be running\n"
        "hint: start the daemon, then check with: tfsctl ps\n"
    ) in stderr
    assert run_cli("predict", "2").stdout == "2.0\n", "the record is kept"


@contextmanager
def forwarded_daemon(path: Path) -> Iterator[Callable[[], None]]:
    """A socket at `path` that leads to the daemon, until the function that is returned is called."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    ends: list[socket.socket] = []

    def stop() -> None:
        path.unlink(missing_ok=True)
        for end in (listener, *ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                daemon = socket.socket(socket.AF_UNIX)
                daemon.connect("/var/run/docker.sock")
                ends.extend((client, daemon))
                for pair in ((client, daemon), (daemon, client)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield stop
    finally:
        stop()


def test_stop_removes_the_container_of_a_killed_tfsctl(run_cli: RunCli, echo: Path) -> None:
    """It is listed. The program that followed its log ends."""
    process = start("serve", echo, "--json", *FREE)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.wait()

    assert run_cli("predict", "3").stdout == "3.0\n"
    assert run_cli("stop", "echo").stdout == "stopped echo\n"
    assert containers() == []
    process.communicate(timeout=60)  # the `docker logs` that still had our stderr has ended too


def test_paths_with_any_character_are_mounted(run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker reads a mount as a CSV record."""
    folders = ["a b", "a,b", 'say "hi"', "it's", "größe ✓", "a=b,target=c", "#a;b&c$d\\e", "a\nb", "a\tb", "a:b", ODD]
    for version, folder in enumerate(("-a", *folders)):
        write_echo_model(tmp_path / folder / str(version))
    monkeypatch.chdir(tmp_path)
    models = [f"--model=m{version}={folder}" for version, folder in enumerate(folders, start=1)]
    assert run_cli("serve", "--name", "m0", "--detach", *FREE, "--", "-a").code == 0
    served = run_cli("serve", "--name", "odd", "--detach", *FREE, *models)
    assert served.code == 0, served.stderr

    sources = {mount["Destination"]: mount["Source"] for mount in inspect("tfsctl-odd")["Mounts"]}
    for version, folder in enumerate(("-a", *folders)):
        answer = json.loads(run_cli("predict", "--model", f"m{version}", "2", "--json").stdout)
        assert (answer["version"], answer["outputs"]) == (version, {"x": [2.0]})
        assert version == 0 or sources[f"/models/m{version}"] == str(tmp_path / folder)


def test_a_new_version_is_served_through_the_mount(run_cli: RunCli, echo: Path) -> None:
    """A directory that is renamed into place is loaded."""
    assert run_cli("serve", echo, "--detach", *FREE).code == 0
    write_echo_model(echo / "next")
    (echo / "next").rename(echo / "2")

    for _ in range(200):
        answer = json.loads(run_cli("predict", "5", "--json").stdout)
        if answer["version"] == 2:
            break
    assert (answer["version"], answer["outputs"]) == (2, {"x": [5.0]})


def test_one_version_is_served_from_its_parent(run_cli: RunCli, echo: Path) -> None:
    """With a mounted config file."""
    write_echo_model(echo / "2")
    assert run_cli("serve", echo / "1", "--detach", *FREE).code == 0

    assert json.loads(run_cli("predict", "5", "--json").stdout)["version"] == 1


def test_a_container_that_ends_at_once_shows_its_log(run_cli: RunCli, echo: Path, standin: str) -> None:
    """It is removed. The exit code is that of Docker errors."""
    broken = "tfsctl-standin:broken"
    dockerfile = f'FROM {standin}\nENTRYPOINT ["/bin/sh", "-c", "echo \'Check failed: no luck\' >&2; exit 3"]\n'
    subprocess.run(
        ["docker", "build", "--tag", broken, "-"], input=dockerfile, text=True, check=True, capture_output=True
    )
    for detach in ((), ("--detach",)):
        served = run_cli("serve", echo, "--image", broken, *detach, *FREE)

        assert (served.code, served.stdout) == (ExitCode.DOCKER, "")
        assert "error: the model server ended with status 3 before it was ready; " in served.stderr
        assert containers() == []
        assert records.running() == []
    assert served.stderr.endswith("the end of its log:\n    Check failed: no luck\n")
    docker("rmi", broken)


def test_a_taken_port_is_refused_before_the_start(run_cli: RunCli, echo: Path) -> None:
    """No container is created."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        served = run_cli("serve", echo, "--rest-port", port, "--grpc-port", "0")

    assert (served.code, served.stdout) == (ExitCode.FAILED, "")
    assert f"error: port {port} of 127.0.0.1 is in use\n" in served.stderr
    assert containers() == []


def test_a_container_name_in_use_is_refused(run_cli: RunCli, echo: Path, standin: str) -> None:
    """A foreign container is left alone. An ended one of ours is replaced."""
    stranger = docker("create", "--name", "tfsctl-echo", standin)
    try:
        served = run_cli("serve", echo, "--detach", *FREE)
        assert served.code == ExitCode.DOCKER
        words = "error: a container named tfsctl-echo already exists\nhint: --name ANOTHER_NAME; or docker rm --force "
        assert words in served.stderr
        assert docker("inspect", "--format", "{{.State.Status}}", stranger) == "created"
    finally:
        docker("rm", "--force", stranger)

    assert run_cli("serve", echo, "--detach", *FREE).code == 0
    docker("kill", "tfsctl-echo")
    assert records.running() == []
    assert run_cli("serve", echo, "--detach", *FREE).code == 0


def test_a_container_of_another_state_directory_keeps_its_name(
    run_cli: RunCli, echo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after its end. The error for a container of ours without a record says so."""
    elsewhere = tmp_path / "else where"
    with monkeypatch.context() as there:
        there.setenv("TFSCTL_STATE_DIR", str(elsewhere))
        assert run_cli("serve", echo, "--detach", *FREE).code == 0
        docker("kill", "tfsctl-echo")
        theirs = inspect("tfsctl-echo")["Id"]

    refused = run_cli("serve", echo, "--detach", *FREE)
    assert refused.code == ExitCode.DOCKER
    assert (
        f"error: a container named tfsctl-echo already exists, started with TFSCTL_STATE_DIR={elsewhere}\n"
        f"hint: --name ANOTHER_NAME; or TFSCTL_STATE_DIR='{elsewhere}' tfsctl stop echo, if it is not needed\n"
    ) in refused.stderr
    assert inspect("tfsctl-echo")["Id"] == theirs
    docker("rm", "tfsctl-echo")

    docker(*shlex.split(run_cli("serve", echo, "--dry-run", *FREE).stdout)[1:])
    refused = run_cli("serve", echo, "--detach", *FREE)
    assert (
        "error: a server named echo is already running\nhint: --name ANOTHER_NAME; or tfsctl stop echo, "
        in refused.stderr
    )
    assert run_cli("stop", "echo").code == 0


def test_a_removed_container_can_be_restarted(run_cli: RunCli, echo: Path) -> None:
    """Its record is kept until `stop`."""
    served = json.loads(run_cli("serve", echo, "--detach", "--json", *FREE).stdout)
    docker("rm", "--force", "tfsctl-echo")
    assert records.running() == []
    assert json.loads(run_cli("ps", "--json").stdout) == {"servers": []}
    (listed,) = json.loads(run_cli("ps", "--all", "--json").stdout)["servers"]
    assert (listed["name"], listed["state"]) == ("echo", "removed")
    gone = run_cli("logs", "echo")
    assert (gone.code, gone.stdout) == (ExitCode.NOT_FOUND, "")
    assert gone.stderr.startswith("error: the container of echo was removed outside tfsctl, together with its log\n")

    assert run_cli("restart").code == 0
    assert [(each.rest_port, each.grpc_port) for each in records.running()] == [
        (served["rest_port"], served["grpc_port"])
    ]
    docker("rm", "--force", "tfsctl-echo")
    assert run_cli("stop").stdout == "removed echo, which had ended\n"
    assert run_cli("stop").code == ExitCode.NOT_FOUND


def test_ports_stay_when_docker_restarts_the_container(run_cli: RunCli, echo: Path) -> None:
    """Also for free ports that were chosen by tfsctl."""
    served = json.loads(run_cli("serve", echo, "--detach", "--json", *FREE).stdout)
    docker("restart", "tfsctl-echo")

    assert [(each.rest_port, each.grpc_port) for each in records.running()] == [
        (served["rest_port"], served["grpc_port"])
    ]
    eventually(lambda: run_cli("predict", "2").stdout, "2.0\n")
    assert run_cli("predict", "2", "--grpc").stdout == "2.0\n"


def test_moved_ports_are_read_from_docker(run_cli: RunCli, echo: Path) -> None:
    """Docker chooses others at each start if it was asked for any, as an earlier version of tfsctl did."""
    command = shlex.split(run_cli("serve", echo, "--dry-run", *FREE).stdout)
    old_command = [re.sub(r"127\.0\.0\.1:\d+:", "127.0.0.1::", word) for word in command]
    container = docker(*old_command[1:])
    records.register(ServerRecord("echo", "docker", "127.0.0.1", 1, 2, ("echo",), None, container, 5.0, None))
    for _ in range(2):
        eventually(lambda: run_cli("predict", "2").stdout, "2.0\n")
        (server,) = json.loads(run_cli("ps", "--json").stdout)["servers"]
        bound = inspect("tfsctl-echo")["NetworkSettings"]["Ports"]["8501/tcp"]
        assert str(server["rest_port"]) == bound[0]["HostPort"]
        docker("restart", "tfsctl-echo")


def test_two_commands_with_one_name(run_cli: RunCli, echo: Path) -> None:
    """One of them starts the server. The other is never told to remove a container."""
    attempts = [start("serve", echo, "--detach", *FREE) for _ in range(3)]
    outputs = [process.communicate(timeout=240) for process in attempts]
    codes = sorted(process.returncode for process in attempts)

    assert codes[0] == 0
    assert 0 not in codes[1:]
    errors = [stderr for process, (_, stderr) in zip(attempts, outputs, strict=True) if process.returncode]
    for error in errors:
        assert "a server named echo is already running" in error
        assert "docker rm" not in error
    assert run_cli("predict", "2").stdout == "2.0\n"


def test_a_stopped_daemon_has_its_own_error(
    run_cli: RunCli, echo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records of running containers are kept."""
    assert run_cli("serve", echo, "--detach", *FREE).code == 0
    with monkeypatch.context() as without:
        without.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
        served = run_cli("serve", echo, "--name", "other", *FREE)
        assert records.running() == []

    assert (served.code, served.stdout) == (ExitCode.DOCKER, "")
    assert (
        f"error: the Docker daemon does not respond: Cannot connect to the Docker daemon at unix://{tmp_path}"
        in served.stderr
    )
    assert [server.name for server in records.running()] == ["echo"]


def test_a_failed_pull_is_one_error(run_cli: RunCli, echo: Path) -> None:
    """After Docker's own output."""
    served = run_cli("serve", echo, "--image", "localhost:1/no/such:image", *FREE)

    assert (served.code, served.stdout) == (ExitCode.DOCKER, "")
    assert "error: cannot pull localhost:1/no/such:image\n" in served.stderr
    assert containers() == []


def start(*arguments: Any, **environment: str) -> subprocess.Popen[str]:
    """A tfsctl of its own, as a terminal would run it."""
    argv = [sys.executable, "-m", "tfsctl", *(str(argument) for argument in arguments)]
    return subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
