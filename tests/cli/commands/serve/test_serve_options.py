"""`tfsctl serve` with several models, metrics, batching and TLS by the embedded server; its log on a terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from cli_runner import RunCli
from echo_models import write_echo_model
from graph_models import GraphModel
from waiting import PATIENCE_S, wait_for

from tfsctl.engines import state_dir
from tfsctl.engines.registry import records
from tfsctl.errors import ExitCode
from tfsctl.programs import processes

FREE = ("--rest-port", "0", "--grpc-port", "0")


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """The base directory of a model with three versions."""
    for version in ("1", "2", "3"):
        write_echo_model(tmp_path / "echo" / version)
    return tmp_path / "echo"


@pytest.fixture(autouse=True)
def _embedded(monkeypatch: pytest.MonkeyPatch, _isolated: None) -> Iterator[None]:
    """Use the embedded server, and stop it at the end."""
    monkeypatch.setenv("TFSCTL_ENGINE", "embedded")
    yield
    for server in records.running():
        if server.pid is not None:
            processes.stop(server.pid)


@pytest.mark.server
def test_all_options_become_flags_of_the_server(run_cli: RunCli, echo: Path, tmp_path: Path) -> None:
    """Two models, versions, labels, metrics, batching and mutual TLS become TensorFlow Serving's flags."""
    write_echo_model(tmp_path / "other/7")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    served = run_cli(
        *("serve", tmp_path / "other", "--model", f"e={echo},versions=1,3,labels=stable:1", "--name", "shop"),
        *("--metrics", "--batching-parameter", "max_batch_size=8"),
        *(
            "--ssl-cert",
            tmp_path / "cert.pem",
            "--ssl-key",
            tmp_path / "key.pem",
            "--ssl-client-ca",
            tmp_path / "ca.pem",
        ),
        *("--detach", "--json", *FREE),
    )
    assert served.code == 0, served.stderr
    assert "serving other version 7, e versions 3, 1 with embedded\n" in served.stderr
    document = json.loads(served.stdout)
    assert (document["name"], document["models"]) == ("shop", ["other", "e"])

    stable = run_cli("predict", "--model", "e", "--label", "stable", "2", "--json")
    assert json.loads(stable.stdout)["outputs"] == {"x": [2.0]}, stable.stderr
    ask = ("predict", "--grpc", "--port", document["grpc_port"], "--host", "127.0.0.1", "--model", "e", "2")
    files = ("--ca", tmp_path / "ca.pem", "--cert", tmp_path / "cert.pem", "--key", tmp_path / "key.pem")
    assert run_cli(*ask, "--tls", *files).stdout == "2.0\n"
    with urllib.request.urlopen(document["metrics"]) as answer:
        assert b":tensorflow:serving:batching_session:" in answer.read()

    assert run_cli("stop").code == 0
    assert not [file for file in state_dir.base().rglob("*") if file.is_file() and b"PRIVATE" in file.read_bytes()]


@pytest.mark.server
def test_files_of_a_killed_server_are_removed(run_cli: RunCli, echo: Path) -> None:
    """Listing servers removes them, if the time at which the server ended is known."""
    served = run_cli("serve", echo, "--metrics", "--detach", "--json", *FREE)
    assert served.code == 0, served.stderr
    assert list(state_dir.subfolder("configs").iterdir())
    pid = json.loads(served.stdout)["pid"]
    os.killpg(pid, signal.SIGKILL)
    wait_for(lambda: [each.exit is not None for each in records.list_servers()] == [True])

    assert records.running() == []
    assert list(state_dir.subfolder("configs").iterdir()) == []


def test_contradicting_options_are_refused(run_cli: RunCli, echo: Path, tmp_path: Path) -> None:
    """No option is ignored silently."""
    for options, words in (
        (("--image", "a:1", "--tag", "2"), "--image and --tag cannot be used together"),
        (("--ssl-cert", tmp_path / "c"), "--ssl-cert and --ssl-key are needed together"),
        (("--ssl-client-ca", tmp_path / "c"), "--ssl-client-ca needs a server certificate"),
        (("--env", "=1"), "--env =1 has no variable name"),
        (
            ("--batching-file", tmp_path / "f", "--batching-parameter", "a=1"),
            "--batching-file and --batching-parameter",
        ),
    ):
        refused = run_cli("serve", echo, *options)
        assert (refused.code, refused.stdout) == (ExitCode.USAGE, "")
        assert refused.stderr.startswith(f"error: {words}")


def test_gpus_select_the_gpu_image(run_cli: RunCli, echo: Path) -> None:
    """The user did not choose another image."""
    for options, image in (
        (("--gpus", "all"), "tensorflow/serving:2.20.0-gpu"),
        (("--gpus", "all", "--tag", "2.19.0"), "tensorflow/serving:2.19.0"),
        (("--gpus", "all", "--image", "mine:1"), "mine:1"),
    ):
        printed = run_cli("serve", echo, "--engine", "docker", "--dry-run", "--json", *options)
        command = json.loads(printed.stdout)["command"]
        assert command[-1] == image
        assert command[command.index("--gpus") + 1] == "all"


def test_container_options_without_a_container_are_noted(
    run_cli: RunCli, echo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each option is noted. A typed tag takes precedence over an image from the environment."""
    printed = run_cli("serve", echo, "--dry-run", "--memory", "2g", "--docker-arg=--cpus=1")
    note = "note: --memory, --docker-arg have no effect without a container\n"
    assert note in printed.stderr
    printed = run_cli("serve", echo, "--dry-run", "--image", "mine:1", "--pull", "always")
    assert "note: --image, --pull have no effect without a container" in printed.stderr
    assert "note:" not in run_cli("serve", echo, "--dry-run").stderr

    monkeypatch.setenv("TFSCTL_IMAGE", "mine:1")
    printed = run_cli("serve", echo, "--engine", "docker", "--dry-run", "--tag", "2.19.0")
    assert printed.stdout.endswith(" tensorflow/serving:2.19.0\n")


@pytest.mark.server
def test_server_environment_includes_env_options(run_cli: RunCli, echo: Path) -> None:
    """It is set before the server starts."""
    served = run_cli("serve", echo, "--env", "LEVEL=a=b c", "--detach", "--json", *FREE)
    assert served.code == 0, served.stderr
    variables = Path(f"/proc/{json.loads(served.stdout)['pid']}/environ").read_bytes().split(b"\0")

    assert b"LEVEL=a=b c" in variables


@pytest.mark.server
def test_failed_load_is_explained_at_once(run_cli: RunCli, tmp_path: Path) -> None:
    """The error does not wait for the next attempt, which the server makes after a minute."""
    model = GraphModel()
    model.op("ZeroOut", "zeroed", model.input("x"))
    model.write(tmp_path / "custom/1")
    for detach in (("--detach",), ()):
        served = run_cli("serve", tmp_path / "custom", *detach, *FREE)

        assert (served.code, served.stdout) == (ExitCode.FAILED, "")
        assert "error: custom version 1 cannot be loaded: " in served.stderr
        assert "\ncause: the server's build lacks the operation ZeroOut" in served.stderr
        assert served.stderr.count("Loading servable: {name: custom version: 1} failed") == 1
    assert records.running() == []


@pytest.mark.server
def test_log_is_coloured_on_a_terminal(echo: Path) -> None:
    """Log lines are coloured by level; tfsctl's own messages are not."""
    screen, inside = pty.openpty()
    argv = [sys.executable, "-m", "tfsctl", "serve", str(echo), *FREE]
    environment = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(argv, stdin=inside, stdout=inside, stderr=inside, env=environment) as process:
        os.close(inside)
        shown = ""
        while "press Ctrl-C to stop the server" not in shown:
            shown += os.read(screen, 65536).decode("utf-8", "replace")
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # how Linux says that the other side is closed
            while more := os.read(screen, 65536):
                shown += more.decode("utf-8", "replace")
        assert process.wait(PATIENCE_S) == 0
    os.close(screen)
    (loaded,) = [line for line in shown.splitlines() if "Successfully loaded servable version {name: echo" in line]
    (ready,) = [line for line in shown.splitlines() if "ready: echo" in line]

    assert "\x1b[2m" in loaded
    assert "\x1b" not in ready
