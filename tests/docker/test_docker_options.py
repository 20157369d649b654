"""Every option of `tfsctl serve` as a real container shows it, and what goes wrong in one, explained.

Run with `pytest -m docker`; without a daemon these fail rather than be skipped.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import trustme
from cli_runner import RunCli
from echo_models import write_echo_model
from graph_models import GraphModel
from ports import free_ports
from real_docker import FREE, containers, docker, inspect
from tfrecords import write_records
from waiting import eventually

from tfsctl.core import protos, tensors
from tfsctl.engines import state_dir
from tfsctl.engines.registry import records
from tfsctl.errors import ExitCode
from tfsctl.serving_config import messages

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300), pytest.mark.usefixtures("_serves_standin")]


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """The base directory of a model with three versions."""
    for version in ("1", "2", "3"):
        write_echo_model(tmp_path / "echo" / version)
    return tmp_path / "echo"


def test_a_container_is_hardened(run_cli: RunCli, echo: Path) -> None:
    """A read-only root, no capabilities, no new privileges, and a place for temporary files."""
    served = run_cli("serve", echo, "--detach", *FREE)
    assert served.code == 0, served.stderr
    inside = docker(
        *("exec", "tfsctl-echo", "sh", "-c"),
        "while read line; do echo $line; done < /proc/1/status; echo x > /tmp/file && echo kept; echo x > /file; true",
    )

    assert "CapEff: 0000000000000000" in inside
    assert "CapBnd: 0000000000000000" in inside
    assert "NoNewPrivs: 1" in inside
    assert "kept" in inside
    assert run_cli("predict", "2").stdout == "2.0\n"


def test_hardening_can_be_relaxed(run_cli: RunCli, echo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option alone. A variable without a value is not in the command line."""
    monkeypatch.setenv("TOKEN", "secret")
    options = (
        *("--writable-root", "--new-privileges", "--cap-add", "SYS_NICE", "--memory", "1g", "--env", "LEVEL=a=b c"),
        *("--env", "TOKEN", "--docker-arg=--cpus=1.5", "--docker-arg", "--hostname", "--docker-arg", "model"),
        *("--server-arg=--file_system_poll_wait_seconds=2", "--publish-all-interfaces"),
    )
    printed = run_cli("serve", echo, *options, "--dry-run", *FREE)
    assert "secret" not in printed.stdout + printed.stderr
    served = run_cli("serve", echo, "--detach", *options, *FREE)
    assert served.code == 0, served.stderr
    found = inspect("tfsctl-echo")
    host, config = found["HostConfig"], found["Config"]

    assert (host["ReadonlyRootfs"], host["SecurityOpt"]) == (False, None)
    assert [capability.removeprefix("CAP_") for capability in host["CapAdd"]] == ["SYS_NICE"]
    assert (host["Memory"], host["NanoCpus"], config["Hostname"]) == (2**30, 1_500_000_000, "model")
    assert {"LEVEL=a=b c", "TOKEN=secret", "MODEL_NAME=echo"} <= set(config["Env"])
    assert config["Cmd"] == ["--file_system_poll_wait_seconds=2"]
    assert {port["HostIp"] for ports in host["PortBindings"].values() for port in ports} == {"0.0.0.0"}
    assert run_cli("predict", "2").stdout == "2.0\n"


def test_tag_platform_and_address(run_cli: RunCli, echo: Path, standin: str) -> None:
    """The ports are published on that address only."""
    image = "tensorflow/serving:99.9"
    docker("tag", standin, image)
    try:
        options = ("--tag", "99.9", "--platform", "linux/amd64", "--pull", "never", "--host", "127.0.0.2")
        served = run_cli("serve", echo, *options, "--no-warmup", "--detach", *FREE)
        assert served.code == 0, served.stderr
        found = inspect("tfsctl-echo")

        assert found["Config"]["Image"] == image
        assert found["Config"]["Cmd"] == ["--enable_model_warmup=false"]
        assert {port["HostIp"] for ports in found["HostConfig"]["PortBindings"].values() for port in ports} == {
            "127.0.0.2"
        }
        assert run_cli("predict", "2").stdout == "2.0\n"
    finally:
        docker("rm", "--force", "tfsctl-echo")
        docker("image", "rm", image)


def test_an_image_for_another_platform_is_refused(run_cli: RunCli, echo: Path, standin: str) -> None:
    """With --pull never."""
    refused = run_cli("serve", echo, "--platform", "linux/arm64", "--pull", "never", "--detach", *FREE)

    assert (refused.code, refused.stdout) == (ExitCode.DOCKER, "")
    assert f"error: docker run failed: the image is built for another processor (image with reference {standin}" in (
        refused.stderr
    )
    assert containers() == []


@pytest.mark.parametrize(
    ("gpus", "count", "devices"), [("all", -1, None), ("2", 2, None), ('"device=0,2"', 0, ["0", "2"])]
)
def test_gpus_are_requested(run_cli: RunCli, echo: Path, gpus: str, count: int, devices: list[str] | None) -> None:
    """A container can be created also without GPUs."""
    command = shlex.split(run_cli("serve", echo, "--gpus", gpus, "--dry-run", *FREE).stdout)
    docker("create", *(word for word in command[2:] if word != "--detach"))
    (request,) = inspect("tfsctl-echo")["HostConfig"]["DeviceRequests"]

    assert (request["Count"], request["DeviceIDs"], request["Capabilities"]) == (count, devices, [["gpu"]])


def test_the_host_network(run_cli: RunCli, echo: Path) -> None:
    """Docker publishes no ports there: the server listens on those that were asked for, on every address."""
    rest_port, grpc_port = free_ports(2)
    ports = ("--rest-port", rest_port, "--grpc-port", grpc_port)
    served = run_cli("serve", echo, "--network", "host", "--detach", "--json", *ports)
    assert served.code == 0, served.stderr
    assert "note: with --network host, the server listens on every address of this machine\n" in served.stderr
    document = json.loads(served.stdout)
    assert (document["rest_port"], document["grpc_port"], document["bind_address"]) == (rest_port, grpc_port, "0.0.0.0")
    assert run_cli("predict", "2").stdout == "2.0\n"
    assert run_cli("predict", "2", "--grpc").stdout == "2.0\n"
    records.unregister(records.running()[0])
    (found,) = json.loads(run_cli("ps", "--json").stdout)["servers"]
    assert (found["rest_port"], found["grpc_port"]) == (rest_port, grpc_port), "without a record"
    eventually(lambda: inspect("tfsctl-echo")["State"]["Health"]["Status"], "healthy")


def test_a_network_of_the_user(run_cli: RunCli, echo: Path) -> None:
    """It must exist, and be one for which Docker publishes ports."""
    docker("network", "create", "tfsctl-test")
    try:
        served = run_cli("serve", echo, "--network", "tfsctl-test", "--detach", *FREE)
        assert served.code == 0, served.stderr
        assert run_cli("predict", "2").stdout == "2.0\n"
        assert list(inspect("tfsctl-echo")["NetworkSettings"]["Networks"]) == ["tfsctl-test"]
        assert run_cli("stop").code == 0
    finally:
        docker("network", "rm", "tfsctl-test")

    refused = run_cli("serve", echo, "--network", "tfsctl-test", "--detach", *FREE)
    assert refused.code == ExitCode.DOCKER
    assert "error: there is no Docker network tfsctl-test\nhint: docker network create tfsctl-test\n" in refused.stderr


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("--docker-arg=--network=host",), "--network NAME"),
        (("--docker-arg", "--network", "--docker-arg", "host"), "--network NAME"),
        (("--docker-arg=--user=0",), "--user UID:GID"),
        (("--docker-arg=-p", "--docker-arg=9000:8501"), "--rest-port PORT"),
        (("--docker-arg=--name=mine",), "--name NAME"),
        (("--docker-arg=--read-only=false",), "--writable-root"),
        (("--docker-arg=--cap-add=ALL",), "--cap-add CAPABILITY"),
        (("--docker-arg=-v", "--docker-arg=/srv:/models/echo"), "another directory"),
        (("--network", "none"), "DRIVER bridge"),
        (("--memory", "lots"), "--memory 2g"),
        (("--image", "a b"), "tensorflow/serving"),
    ],
)
def test_options_are_checked_before_docker_is_called(
    run_cli: RunCli, echo: Path, options: tuple[str, ...], hint: str
) -> None:
    """Nothing is created."""
    refused = run_cli("serve", echo, "--detach", *options, *FREE)

    assert (refused.code, refused.stdout) == (ExitCode.USAGE, "")
    assert hint in refused.stderr.splitlines()[-1]
    assert containers() == []


def test_resources_labels_logs_and_restarts(run_cli: RunCli, echo: Path) -> None:
    """As Docker has them."""
    limits = ("--cpus", "1.5", "--memory", "512m", "--shm-size", "32m", "--log-max-size", "1m")
    served = run_cli("serve", echo, *limits, "--label", "team=search", "--restart", "on-failure:3", "--detach", *FREE)
    assert served.code == 0, served.stderr
    found = inspect("tfsctl-echo")
    host = found["HostConfig"]

    assert (host["NanoCpus"], host["Memory"], host["ShmSize"]) == (1500000000, 512 * 2**20, 32 * 2**20)
    assert host["LogConfig"]["Config"] == {"max-size": "1m", "max-file": "2"}
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert host["PidsLimit"] == 4096
    assert found["Config"]["Labels"]["team"] == "search"
    assert run_cli("restart").code == 0
    assert inspect("tfsctl-echo")["HostConfig"]["RestartPolicy"]["Name"] == "on-failure"


def test_a_restart_policy_needs_the_background(run_cli: RunCli, echo: Path) -> None:
    """A server in the foreground ends with its terminal."""
    refused = run_cli("serve", echo, "--restart", "always", *FREE)

    assert (refused.code, refused.stdout) == (ExitCode.USAGE, "")
    assert refused.stderr.endswith("hint: add --detach\n")


def test_unset_variables_are_refused(run_cli: RunCli, echo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything starts, and before `restart` stops anything."""
    refused = run_cli("serve", echo, "--env", "TOKEN", "--detach", *FREE)
    assert (refused.code, containers()) == (ExitCode.USAGE, [])
    assert "error: --env TOKEN uses the environment variable TOKEN, which is not set\n" in refused.stderr

    monkeypatch.setenv("TOKEN", "one")
    assert run_cli("serve", echo, "--env", "TOKEN", "--detach", *FREE).code == 0
    before = inspect("tfsctl-echo")["Id"]
    monkeypatch.delenv("TOKEN")
    refused = run_cli("restart")
    assert (refused.code, inspect("tfsctl-echo")["Id"]) == (ExitCode.USAGE, before)
    assert "error: echo was started with --env TOKEN, and the variable TOKEN is no longer set\n" in refused.stderr
    assert run_cli("predict", "2").stdout == "2.0\n"

    monkeypatch.setenv("TOKEN", "two")
    assert run_cli("restart").code == 0
    assert "TOKEN=two" in inspect("tfsctl-echo")["Config"]["Env"]


def test_a_container_that_docker_removed_is_reported(run_cli: RunCli, echo: Path, standin: str) -> None:
    """With --rm, its status and log may be gone."""
    broken = "tfsctl-standin:removed"
    dockerfile = f'FROM {standin}\nENTRYPOINT ["/bin/sh", "-c", "exit 3"]\n'
    subprocess.run(
        ["docker", "build", "--tag", broken, "-"], input=dockerfile, text=True, check=True, capture_output=True
    )
    served = run_cli("serve", echo, "--image", broken, "--docker-arg=--rm", "--detach", *FREE)
    docker("image", "rm", broken)

    assert (served.code, served.stdout) == (ExitCode.DOCKER, "")
    assert re.search(
        r"error: the model server ended( with status 3)? before it was ready; the end of its log:\n", served.stderr
    )
    assert served.stderr.endswith("    (Docker removed the container, and its status and log with it)\n")


def test_warmup_requests_are_replayed(run_cli: RunCli, tmp_path: Path) -> None:
    """Before the server is ready, unless --no-warmup."""
    log = protos.PredictionLog()
    log.predict_log.request.inputs["x"].CopyFrom(tensors.to_proto(np.ones(1, np.float32)))
    write_echo_model(tmp_path / "warm/1")
    write_records(tmp_path / "warm/1/assets.extra/tf_serving_warmup_requests", [log.SerializeToString()] * 3)

    for option, warmed in (("--warmup", True), ("--no-warmup", False)):
        assert run_cli("serve", tmp_path / "warm", option, "--detach", *FREE).code == 0
        assert ("Number of warmup records read: 3" in run_cli("logs").stdout) is warmed
        assert run_cli("stop").code == 0


def test_a_container_can_run_as_any_user(run_cli: RunCli, echo: Path) -> None:
    """A server does not need root."""
    served = run_cli("serve", echo, "--detach", "--user", "12345:12345", *FREE)
    assert served.code == 0, served.stderr
    assert inspect("tfsctl-echo")["Config"]["User"] == "12345:12345"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become someone else")
def test_private_models_are_served() -> None:
    """The container runs as the user who starts it."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        home, echo = Path(folder), Path(folder, "echo")
        for version in ("1", "2", "3"):
            write_echo_model(echo / version)
        for path in (home, *home.rglob("*")):
            os.chown(path, 12345, 12345)
            path.chmod(0o700)
        _serve_as(12345, echo, {**os.environ, "HOME": folder, "TFSCTL_STATE_DIR": f"{folder}/state"})


def _serve_as(user: int, echo: Path, environment: dict[str, str]) -> None:
    group = os.stat("/var/run/docker.sock").st_gid
    someone = [
        *("setpriv", "--reuid", str(user), "--regid", str(user), "--groups", str(group)),
        *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),  # this Python may be in root's home
    ]
    tfsctl = [*someone, sys.executable, "-m", "tfsctl"]
    served = subprocess.run(
        [*tfsctl, "serve", str(echo), "--model", f"two={echo},versions=1,2", "--detach", *FREE],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert served.returncode == 0, served.stderr
    assert inspect("tfsctl-echo")["Config"]["User"] == f"{user}:{user}"
    subprocess.run([*tfsctl, "stop"], env=environment, check=True, capture_output=True)


def test_several_models(run_cli: RunCli, echo: Path, tmp_path: Path) -> None:
    """Each with its mount, versions and labels, in a generated config file."""
    write_echo_model(tmp_path / "other/7")
    served = run_cli(
        *("serve", tmp_path / "other", "--model", f"e={echo},versions=1,3,labels=stable:1,canary:3"),
        *("--name", "shop", "--detach", "--json", *FREE),
    )
    assert served.code == 0, served.stderr
    assert (json.loads(served.stdout)["name"], json.loads(served.stdout)["models"]) == ("shop", ["other", "e"])
    mounts = {mount["Destination"]: (mount["Source"], mount["RW"]) for mount in inspect("tfsctl-shop")["Mounts"]}
    assert mounts["/models/other"] == (str(tmp_path / "other"), False)
    assert mounts["/models/e"] == (str(echo), False)
    assert mounts["/etc/tfsctl"][1] is False
    assert inspect("tfsctl-shop")["Config"]["Cmd"] == [
        "--model_config_file=/etc/tfsctl/models.config",
        "--allow_version_labels_for_unavailable_models=true",
    ]

    for label, version in (("stable", 1), ("canary", 3)):
        answer = run_cli("predict", "--model", "e", "--label", label, "2", "--json", "--grpc")
        assert json.loads(answer.stdout)["version"] == version, answer.stderr
    assert json.loads(run_cli("predict", "--model", "other", "2", "--json").stdout)["version"] == 7

    assert run_cli("stop", "shop").code == 0
    assert not list(Path(state_dir.base(), "configs").glob("*/*"))


def test_the_paths_of_a_config_file_are_mounted(run_cli: RunCli, echo: Path, tmp_path: Path) -> None:
    """The file of the user is not changed."""
    file = tmp_path / "models.config"
    entry = f'name: "e" base_path: "{echo}" model_platform: "tensorflow" model_version_policy {{ all {{}} }}'
    file.write_text(f"model_config_list {{ config {{ {entry} }} }}", encoding="utf-8")
    served = run_cli("serve", "--config", file, "--detach", *FREE)
    assert served.code == 0, served.stderr
    assert served.stdout.startswith("ready: e versions 3, 2, 1\n")
    assert inspect("tfsctl-e")["Config"]["Cmd"] == ["--model_config_file=/etc/tfsctl/models.config"]

    for version in (1, 2, 3):
        answer = run_cli("predict", "--version", version, "2", "--json")
        assert json.loads(answer.stdout)["version"] == version


def test_batching_and_metrics(run_cli: RunCli, echo: Path) -> None:
    """The server has read both generated files."""
    parameters = ("--batching-parameter", "max_batch_size=4", "--batching-parameter", "batch_timeout_micros=0")
    served = run_cli("serve", echo, "--metrics", *parameters, "--detach", "--json", *FREE)
    assert served.code == 0, served.stderr
    assert run_cli("predict", "1", "2").stdout == "1.0\n2.0\n"
    with urllib.request.urlopen(json.loads(served.stdout)["metrics"]) as answer:
        metrics = answer.read().decode()

    assert inspect("tfsctl-echo")["Config"]["Cmd"] == [
        "--enable_batching=true",
        "--batching_parameters_file=/etc/tfsctl/batching.config",
        "--monitoring_config_file=/etc/tfsctl/monitoring.config",
    ]
    assert ':tensorflow:serving:request_count{model_name="echo",status="OK"}' in metrics
    assert ":tensorflow:serving:batching_session:" in metrics
    (folder,) = Path(state_dir.base(), "configs").glob("*/*")
    message = messages.BatchingParameters()
    messages.parse_text(message, (folder / "batching.config").read_text(encoding="utf-8"), source="")
    assert (message.max_batch_size.value, message.batch_timeout_micros.value) == (4, 0)


def test_grpc_over_mutual_tls(run_cli: RunCli, echo: Path, tmp_path: Path) -> None:
    """The key is not left on disk."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("127.0.0.1", "client"):
        issued = authority.issue_cert(name)
        issued.private_key_pem.write_to_path(tmp_path / f"{name}-key.pem")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    files = ("--ssl-cert", tmp_path / "127.0.0.1.pem", "--ssl-key", tmp_path / "127.0.0.1-key.pem")
    served = run_cli("serve", echo, *files, "--ssl-client-ca", tmp_path / "ca.pem", "--detach", "--json", *FREE)
    assert served.code == 0, served.stderr
    port = json.loads(served.stdout)["grpc_port"]
    assert inspect("tfsctl-echo")["Config"]["Cmd"] == ["--ssl_config_file=/etc/tfsctl/ssl.config"]
    mine = ("--cert", tmp_path / "client.pem", "--key", tmp_path / "client-key.pem")
    ask = ("predict", "--grpc", "--host", "127.0.0.1", "--port", port, "--model", "echo", "2", "--tls")
    shown = run_cli(*ask, "--ca", tmp_path / "ca.pem", *mine)
    assert shown.stdout == "2.0\n", shown.stderr
    assert run_cli("predict", "2", "--grpc", *mine).stdout == "2.0\n", "the server's certificate is known"
    refused = run_cli("predict", "2", "--grpc")
    assert (refused.code, refused.stdout) == (ExitCode.USAGE, "")
    assert "error: the gRPC API of echo requires a client certificate signed by " in refused.stderr
    assert run_cli("predict", "2").stdout == "2.0\n", "REST has no TLS"
    assert run_cli("stop").code == 0
    assert not [
        file for file in Path(state_dir.base()).rglob("*") if file.is_file() and b"PRIVATE" in file.read_bytes()
    ]


def test_a_failed_load_is_explained_at_once(run_cli: RunCli, tmp_path: Path) -> None:
    """TensorFlow Serving would retry after a minute."""
    model = GraphModel()
    model.op("ZeroOut", "zeroed", model.input("x"))
    model.write(tmp_path / "custom/1")
    served = run_cli("serve", tmp_path / "custom", "--detach", *FREE)

    assert (served.code, served.stdout) == (ExitCode.DOCKER, "")
    assert "error: custom version 1 cannot be loaded: " in served.stderr
    assert "Op type not registered 'ZeroOut'" in served.stderr
    assert "\ncause: the server's build lacks the operation ZeroOut: it comes from a separate library" in served.stderr
    assert containers() == []
    assert records.running() == []


def test_a_container_out_of_memory_is_explained(run_cli: RunCli, echo: Path) -> None:
    """Docker knows the reason; the log does not."""
    served = run_cli("serve", echo, "--memory", "40m", "--docker-arg=--memory-swap=40m", "--detach", *FREE)

    assert (served.code, served.stdout) == (ExitCode.DOCKER, "")
    assert "error: the model server ended with status 137 before it was ready" in served.stderr
    assert "cause: it was killed, probably because memory ran out; --memory sets its limit\n" in served.stderr
    assert containers() == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_an_unreadable_model_is_refused(run_cli: RunCli, echo: Path) -> None:
    """Before the start, unless the container may read everything."""
    file = echo / "3/saved_model.pb"
    os.chown(file, 12345, 12345)
    file.chmod(0o600)
    refused = run_cli("serve", echo, "--detach", *FREE)
    assert (refused.code, refused.stdout) == (ExitCode.FAILED, "")
    assert f"error: the container cannot read {file}: its root has no capabilities\n" in refused.stderr
    assert f"hint: chmod -R a+rX {echo}\n" in refused.stderr

    served = run_cli("serve", echo, "--cap-add", "DAC_OVERRIDE", "--detach", *FREE)
    assert served.code == 0, served.stderr
    assert run_cli("predict", "2").stdout == "2.0\n"


def test_gpus_without_a_driver_are_refused(run_cli: RunCli, echo: Path) -> None:
    """The error says what is missing."""
    served = run_cli("serve", echo, "--gpus", "all", "--detach", *FREE)

    assert (served.code, served.stdout) == (ExitCode.DOCKER, "")
    assert "error: docker run failed: Docker has no driver for GPUs (could not select device driver" in served.stderr
    assert "hint: install the NVIDIA Container Toolkit, or remove --gpus\n" in served.stderr
    assert docker("ps", "--all", "--quiet", "--filter", "name=^/tfsctl-echo$") == ""


def test_a_missing_image_is_not_pulled_with_pull_never(run_cli: RunCli, echo: Path) -> None:
    """It is an error."""
    refused = run_cli("serve", echo, "--image", "localhost:1/no/such:image", "--pull", "never", *FREE)

    assert (refused.code, refused.stdout) == (ExitCode.DOCKER, "")
    assert (
        "error: the image localhost:1/no/such:image is not on this machine, and --pull never prevents pulling it\n"
        in refused.stderr
    )


def test_docker_contexts_are_used(run_cli: RunCli, echo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the docker command does. The error for a dead one names it."""
    with monkeypatch.context() as there:
        there.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        docker("context", "create", "here", "--docker", "host=unix:///var/run/docker.sock")
        docker("context", "create", "nobody", "--docker", f"host=unix://{tmp_path}/nobody.sock")
        there.setenv("DOCKER_CONTEXT", "here")
        assert run_cli("serve", echo, "--detach", *FREE).code == 0
        assert run_cli("stop").code == 0
        there.setenv("DOCKER_CONTEXT", "nobody")
        refused = run_cli("serve", echo, "--detach", *FREE)

    assert refused.code == ExitCode.DOCKER
    assert "error: the Docker daemon does not respond: Cannot connect to the Docker daemon at " in refused.stderr
    assert f"unix://{tmp_path}/nobody.sock" in refused.stderr
