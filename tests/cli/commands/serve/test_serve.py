"""`tfsctl serve` and `tfsctl stop`: with the embedded server, and with a fake one that loads slowly, or dies."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_runner import RunCli
from echo_models import write_echo_model
from terminal import Terminal
from waiting import wait_for

from tfsctl.engines.planning import serve_plan, server_control
from tfsctl.engines.planning.serve_options import ServeOptions
from tfsctl.engines.registry import records
from tfsctl.errors import ExitCode
from tfsctl.programs import processes

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("_nothing_is_left")]

FREE = ("--rest-port", "0", "--grpc-port", "0")


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """`start("serve", …)`: start tfsctl as a process."""
    started: list[subprocess.Popen[str]] = []

    def run(*args: object) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "tfsctl", *(str(arg) for arg in args)]
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def ready(process: subprocess.Popen[str]) -> dict[str, object]:
    """The document `serve --json` prints once the server answers."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    document: dict[str, object] = json.loads(line)
    return document


def is_refused(port: object) -> bool:
    """Whether a connection to the port is refused."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", int(str(port)))) != 0


def test_printed_commands_work_until_stop(run_cli: RunCli, echo: Path) -> None:
    """`ready` is printed when the server answers; the printed commands work; after stop nothing is left."""
    served = run_cli("serve", echo, "--engine", "embedded", "--detach", *FREE)
    assert served.code == 0, served.stderr
    assert "serving echo version 1 with embedded\n" in served.stderr
    assert served.stderr.endswith("; stop it with: tfsctl stop echo\n")
    (server,) = records.running()
    title, rest, grpc, curl, predict = served.stdout.splitlines()
    assert title == "ready: echo version 1"
    assert rest == f"  REST  http://127.0.0.1:{server.rest_port}/v1/models/echo"
    assert grpc == f"  gRPC  127.0.0.1:{server.grpc_port}"

    answered = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=True)
    assert json.loads(answered.stdout) == {"predictions": [1.0]}
    program, *arguments = shlex.split(predict)
    assert (program, run_cli(*arguments).stdout) == ("tfsctl", "1.0\n")
    assert run_cli(*arguments, "--grpc").stdout == "1.0\n"

    assert run_cli("stop").stdout == "stopped echo\n"
    assert records.running() == []
    assert is_refused(server.rest_port)


def test_a_detached_server_is_described_as_json(run_cli: RunCli, echo: Path) -> None:
    """One document, with everything a script needs to find and to end it."""
    served = run_cli("serve", echo, "--engine", "embedded", "--detach", "--json", *FREE)
    document = json.loads(served.stdout)
    (server,) = records.running()

    assert (document["name"], document["engine"], document["version"]) == ("echo", "embedded", 1)
    assert (document["pid"], document["container"]) == (server.pid, None)
    assert (document["rest_port"], document["grpc_port"]) == (server.rest_port, server.grpc_port)
    assert document["url"] == f"http://127.0.0.1:{server.rest_port}"
    assert document["curl"].startswith("curl -d ")
    wait_for(lambda: "Successfully loaded servable version" in Path(document["log_path"]).read_text())
    assert json.loads(run_cli("stop", "echo", "--json").stdout) == {"stopped": ["echo"]}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_foreground_server_ends_with_the_terminal(start: Start, echo: Path, number: signal.Signals) -> None:
    """Ctrl-C, a plain kill and a closed terminal all end it cleanly, with exit code 0; its log was on stderr."""
    process = start("serve", echo, "--engine", "embedded", "--json", *FREE)
    document = ready(process)
    assert not is_refused(document["rest_port"])

    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=240)
    assert (process.returncode, stdout) == (0, "")
    assert "Successfully loaded servable version" in stderr
    assert stderr.endswith("echo has ended\n")
    assert is_refused(document["rest_port"])
    assert records.running() == []


def test_embedded_server_ends_with_a_killed_tfsctl(start: Start, echo: Path) -> None:
    """The server ends although tfsctl, killed with SIGKILL, cannot clean up."""
    process = start("serve", echo, "--engine", "embedded", "--json", *FREE)
    document = ready(process)
    process.kill()
    process.wait()

    wait_for(lambda: processes.process_identity(int(str(document["pid"]))) is None)
    wait_for(lambda: is_refused(document["rest_port"]))
    assert records.running() == []


def test_version_directory_is_served_from_its_parent(run_cli: RunCli, echo: Path) -> None:
    """The higher version is not served; a note says which one is."""
    write_echo_model(echo / "2")
    served = run_cli("serve", echo / "1", "--engine", "embedded", "--detach", *FREE)

    assert f"note: {echo}/1 is one version; {echo} is served with that version only\n" in served.stderr
    document = json.loads(run_cli("predict", "5", "--json").stdout)
    assert (document["version"], document["outputs"]) == (1, {"x": [5.0]})


def test_dry_run_prints_a_working_command(run_cli: RunCli, echo: Path) -> None:
    """Stdout has only the command line, quoted for a shell."""
    odd = echo.rename(echo.parent / 'it\'s, "odd"')
    served = run_cli("serve", odd, "--name", "odd", "--engine", "embedded", "--dry-run")

    assert shlex.split(served.stdout) == [
        *(sys.executable, "-m", "tfsctl.server", "--host=127.0.0.1", "--model_reload=local"),
        *("--port=8500", "--rest_api_port=8501"),
        *("--model_name=odd", f"--model_base_path={odd}"),
    ]
    assert served.code == 0
    assert records.running() == []


def test_a_dry_run_needs_no_docker(run_cli: RunCli, echo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command for another machine can be printed on this one."""
    monkeypatch.setenv("PATH", "")
    served = run_cli("serve", echo, "--engine", "docker", "--image", "registry/serving:9", "--dry-run")

    assert served.stdout.startswith("docker run --detach ")
    assert served.stdout.endswith(" registry/serving:9\n")
    refused = run_cli("serve", echo, "--engine", "docker")
    assert (refused.code, refused.stdout) == (ExitCode.DOCKER, "")
    assert "serving echo version 1 with docker\nerror: docker is not installed" in refused.stderr


def test_a_wrong_path_is_refused(run_cli: RunCli, tmp_path: Path) -> None:
    """The error has an exit code and a hint."""
    refused = run_cli("serve", tmp_path / "nowhere", "--engine", "embedded")

    assert (refused.code, refused.stdout) == (ExitCode.NOT_FOUND, "")
    assert refused.stderr == f"error: no such directory: {tmp_path}/nowhere\n"


@pytest.mark.usefixtures("fake")
def test_a_taken_port_and_a_taken_name_are_refused(run_cli: RunCli, echo: Path) -> None:
    """The error names the server that uses them, which keeps running."""
    assert run_cli("serve", echo, "--engine", "binary", "--detach", *FREE).code == 0
    (server,) = records.running()

    again = run_cli("serve", echo, "--engine", "binary", *FREE)
    assert (again.code, again.stdout) == (ExitCode.FAILED, "")
    assert (
        f"error: a server named echo is already running, at {server.url} (binary)\nhint: tfsctl stop echo"
        in again.stderr
    )
    other = run_cli("serve", echo, "--engine", "binary", "--name", "other", "--rest-port", server.rest_port)
    assert (other.code, other.stdout) == (ExitCode.FAILED, "")
    assert f"error: port {server.rest_port} of 127.0.0.1 is in use by the server echo (binary)\n" in other.stderr
    assert records.running() == [server]


@pytest.mark.usefixtures("fake")
def test_early_exit_shows_the_log(run_cli: RunCli, echo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is printed at once, not at the timeout; no server is listed."""
    monkeypatch.setenv("FAKE_DIES", "3")
    served = run_cli("serve", echo, "--engine", "binary", "--detach", *FREE)

    assert (served.code, served.stdout) == (ExitCode.FAILED, "")
    assert "error: the model server ended with status 3 before it was ready; the end of its log:\n" in served.stderr
    assert served.stderr.endswith("    Check failed: it cannot live\n")
    assert records.running() == []


@pytest.mark.usefixtures("fake")
def test_wait_timeout_stops_the_server(run_cli: RunCli, echo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is not enough: the state must be AVAILABLE. The error holds the last one seen."""
    monkeypatch.setenv("FAKE_STATE", "LOADING")
    for seconds in (1, 30):  # on a busy machine, the fake server may listen only after a second
        served = run_cli("serve", echo, "--engine", "binary", "--detach", "--wait-timeout", seconds, *FREE)
        if "Connection refused" not in served.stderr:
            break

    assert (served.code, served.stdout) == (ExitCode.UNREACHABLE, "")
    assert "error: echo is not AVAILABLE in time (version 1 is LOADING); the end of its log:\n" in served.stderr
    assert '"GET /v1/models/echo HTTP/1.1" 200' in served.stderr
    assert records.running() == []


@pytest.mark.usefixtures("fake")
def test_ready_is_printed_after_loading(run_cli: RunCli, echo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before the server answers."""
    monkeypatch.setenv("FAKE_LOAD_S", "1.5")
    begin = time.monotonic()
    served = run_cli("serve", echo, "--engine", "binary", "--detach", *FREE)

    assert served.code == 0
    assert time.monotonic() - begin > 1.5


@pytest.mark.usefixtures("fake")
def test_terminal_shows_progress(echo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting, which may be too quick to be seen, then loading, until it is ready."""
    monkeypatch.setenv("FAKE_LOAD_S", "1.5")
    argv = [sys.executable, "-m", "tfsctl", "serve", str(echo), "--engine", "binary", "--detach", *FREE]
    with Terminal(argv, os.environ) as screen:
        screen.expect(" loading echo …")
        screen.expect("ready: echo version 1")
        assert screen.wait() == 0

    monkeypatch.setenv("FAKE_LOAD_S", "0")
    steps: list[str] = []
    plan = serve_plan.make_plan(ServeOptions(paths=(echo,), name="other", engine="binary", rest_port=0, grpc_port=0))
    server_control.start(plan, detach=True, show_step=steps.append).stop()
    assert steps == ["starting other", "loading other"]


@pytest.mark.usefixtures("fake")
def test_ctrl_c_during_loading_stops_the_server(start: Start, echo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code shows that the server was never ready."""
    monkeypatch.setenv("FAKE_LOAD_S", "60")
    for detach in ((), ("--detach",)):
        process = start("serve", echo, "--engine", "binary", *detach, *FREE)
        wait_for(lambda: len(records.running()) == 1)
        process.send_signal(signal.SIGINT)

        assert process.communicate(timeout=240)[0] == ""
        assert process.returncode == ExitCode.INTERRUPTED
        assert records.running() == []


@pytest.mark.usefixtures("fake")
def test_later_crash_is_a_failure(start: Start, echo: Path) -> None:
    """A server that another command stops has not failed."""
    process = start("serve", echo, "--engine", "binary", "--json", *FREE)
    os.kill(int(str(ready(process)["pid"])), signal.SIGKILL)
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == ExitCode.FAILED
    assert stderr.endswith("error: the model server was ended by SIGKILL; its log is above\n")

    process = start("serve", echo, "--engine", "binary", "--json", *FREE)
    os.kill(int(str(ready(process)["pid"])), signal.SIGTERM)
    _, stderr = process.communicate(timeout=240)
    assert (process.returncode, stderr.splitlines()[-1]) == (0, "echo has ended")


@pytest.mark.usefixtures("fake")
def test_stop_cleans_up_after_a_killed_tfsctl(start: Start, run_cli: RunCli, echo: Path) -> None:
    """tensorflow_model_server does not end with tfsctl, so it stays listed."""
    process = start("serve", echo, "--engine", "binary", "--json", *FREE)
    document = ready(process)
    process.kill()
    process.wait()

    assert [server.pid for server in records.running()] == [document["pid"]]
    assert run_cli("stop", "echo").stdout == "stopped echo\n"
    assert is_refused(document["rest_port"])


@pytest.mark.usefixtures("fake")
def test_stop_needs_a_name_if_several_run(run_cli: RunCli, echo: Path) -> None:
    """With several servers a name is needed, or --all; an unknown name is not found."""
    for name in ("one", "two", "three"):
        assert run_cli("serve", echo, "--name", name, "--engine", "binary", "--detach", *FREE).code == 0

    unclear = run_cli("stop")
    assert (unclear.code, unclear.stdout) == (ExitCode.USAGE, "")
    assert unclear.stderr.startswith("error: several servers are running: one, two, three\n")
    unknown = run_cli("stop", "four")
    assert (unknown.code, unknown.stderr) == (
        ExitCode.NOT_FOUND,
        "error: no server named four is running (running: one, two, three)\nhint: tfsctl ps lists the running servers\n",
    )
    assert run_cli("stop", "two").stdout == "stopped two\n"
    assert run_cli("stop", "--all").stdout == "stopped one\nstopped three\n"
    assert run_cli("stop", "--all").code == 0
    assert run_cli("stop").code == ExitCode.NOT_FOUND
