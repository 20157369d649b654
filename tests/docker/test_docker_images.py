"""`tfsctl image build` and `tfsctl compose` against a real Docker Engine and Debian's docker-compose.

Run with `pytest -m docker`; without a daemon these fail rather than be skipped.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_runner import RunCli
from echo_models import write_echo_model
from ports import free_ports
from real_docker import docker, inspect

from tfsctl.engines.docker.health import health_check
from tfsctl.errors import ExitCode

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
TAG = "tfsctl-test-image:1"


def wait_until_healthy(container: str) -> None:
    """Wait until Docker's own check has passed: it is made every ten seconds."""
    deadline = time.monotonic() + 60
    while (health := inspect(container)["State"]["Health"])["Status"] != "healthy":
        assert time.monotonic() < deadline, health
        time.sleep(0.2)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A directory with two models, of which one has two versions; readable to their owner only."""
    for place in ("echo/1", "echo/2", "other/5"):
        write_echo_model(tmp_path / "models" / place)
    for path in (tmp_path / "models").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return tmp_path / "models"


@pytest.fixture
def remove() -> Iterator[list[str]]:
    """The names of containers that are removed at the end."""
    names: list[str] = []
    yield names
    subprocess.run(["docker", "rm", "--force", *names], capture_output=True, check=False)
    subprocess.run(["docker", "image", "rm", "--force", TAG], capture_output=True, check=False)


def run_printed(line: str, name: str) -> tuple[int, int]:
    """Run the line `image build` printed, with other ports than the usual ones; returns them (REST, gRPC)."""
    rest_port, grpc_port = free_ports(2)
    line = line.replace(":8501:8501", f":{rest_port}:8501").replace(":8500:8500", f":{grpc_port}:8500")
    assert f"--name {name} " in line
    subprocess.run(["sh", "-c", line], check=True, capture_output=True)
    return rest_port, grpc_port


def test_an_image_is_self_contained(run_cli: RunCli, models: Path, standin: str, remove: list[str]) -> None:
    """It answers on both ports, is not root, becomes healthy, and stops when told."""
    remove.append("tfsctl-test-image")
    built = run_cli("image", "build", models / "echo", "--base-image", standin, "--tag", TAG)
    assert built.code == 0, built.stderr
    title, model, line = built.stdout.splitlines()
    assert model == "  echo version 2"
    assert re.fullmatch(rf"built: {TAG} \(\d+ MB\)", title)
    (models / "echo").rename(models / "gone")

    rest_port, grpc_port = run_printed(line, "tfsctl-test-image")
    wait_until_healthy("tfsctl-test-image")
    arguments = ("predict", "--model", "echo", "--json", "3")
    assert json.loads(run_cli(*arguments, "--port", rest_port).stdout)["outputs"] == {"x": [3.0]}
    assert json.loads(run_cli(*arguments, "--grpc", "--port", grpc_port).stdout)["version"] == 2

    facts = inspect("tfsctl-test-image")
    labels = facts["Config"]["Labels"]
    assert facts["Mounts"] == []
    assert facts["Config"]["User"] == "65532:65532"
    status = Path(f"/proc/{facts['State']['Pid']}/status").read_text()
    assert re.search(r"^Uid:\s65532\s", status, flags=re.MULTILINE)
    assert (labels["org.opencontainers.image.title"], labels["org.opencontainers.image.version"]) == ("echo", "2")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", labels["tfsctl.model.echo.fingerprint"])
    assert not [name for name in labels if name.startswith("tfsctl.server")]
    begin = time.monotonic()
    docker("stop", "--time", "60", "tfsctl-test-image")
    assert time.monotonic() - begin < 40


def test_an_image_of_several_models(run_cli: RunCli, models: Path, standin: str, remove: list[str]) -> None:
    """With versions, labels and options. A model that is not AVAILABLE makes it unhealthy."""
    remove.append("tfsctl-test-image")
    arguments = [f"--model=echo={models}/echo,versions=1,2,labels=stable:1", f"--model=other={models}/other"]
    options = ["--metrics", "--batching-parameter", "max_batch_size=4", "--base-image", standin, "--tag", TAG]
    built = run_cli("image", "build", *arguments, *options, "--json")
    assert built.code == 0, built.stderr
    document = json.loads(built.stdout)
    assert document["image"] == TAG
    assert document["id"] == docker("image", "inspect", "--format", "{{.Id}}", TAG)
    assert document["labels"]["tfsctl.model.echo.version"] == "2,1"

    rest_port, _ = run_printed(document["run"], "tfsctl-test-image")
    check = inspect("tfsctl-test-image")["Config"]["Healthcheck"]["Test"]
    deadline = time.monotonic() + 60
    while subprocess.run(["docker", "exec", "tfsctl-test-image", *check[1:]], check=False).returncode != 0:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    missing = ["docker", "exec", "tfsctl-test-image", *health_check(["echo", "missing"], 8501).command]
    assert subprocess.run(missing, check=False).returncode == 1

    ask = ("predict", "--port", rest_port, "--model")
    assert run_cli(*ask, "echo", "--label", "stable", "1").stdout == "1.0\n"
    assert run_cli(*ask, "other", "5").stdout == "5.0\n"


def test_a_failed_build_is_one_error(run_cli: RunCli, models: Path) -> None:
    """After Docker's own output."""
    failed = run_cli("image", "build", models / "other", "--base-image", "localhost:1/no/such:image", "--tag", TAG)

    assert (failed.code, failed.stdout) == (ExitCode.DOCKER, "")
    assert "error: docker build failed with status 1; its output is above\n" in failed.stderr


def test_a_compose_file_serves(run_cli: RunCli, models: Path, standin: str, tmp_path: Path, remove: list[str]) -> None:
    """Compose starts the same container as `serve`."""
    odd = models.rename(tmp_path / 'it\'s "$HOME", größe')
    rest_port, grpc_port = free_ports(2)
    project = tmp_path / "project"
    project.mkdir()
    options = [
        "--image",
        standin,
        "--memory",
        "1g",
        "--metrics",
        "--env",
        "A=x $y",
        "--name",
        "composed",
        "--pull",
        "never",
    ]
    ports = ["--rest-port", rest_port, "--grpc-port", grpc_port]
    printed = run_cli("compose", odd / "echo", *options, *ports)
    assert printed.code == 0, printed.stderr
    (project / "compose.yaml").write_text(printed.stdout)
    compose = ["docker-compose", "--project-name", "tfsctl-test", "--file", str(project / "compose.yaml")]
    accepted = subprocess.run([*compose, "config"], capture_output=True, text=True, check=True)
    assert accepted.stderr == ""
    service = yaml.safe_load(accepted.stdout)["services"]["composed"]
    assert service["volumes"][0]["source"].replace("$$", "$") == str(odd / "echo")

    remove.append("tfsctl-test_composed_1")
    subprocess.run([*compose, "up", "--detach"], capture_output=True, check=True)
    wait_until_healthy("tfsctl-test_composed_1")
    assert run_cli("predict", "--port", rest_port, "--model", "composed", "7").stdout == "7.0\n"
    assert json.loads(run_cli("ps", "--json").stdout) == {"servers": []}
    composed = inspect("tfsctl-test_composed_1")
    subprocess.run([*compose, "down"], capture_output=True, check=True)

    remove.append("tfsctl-composed")
    served = run_cli("serve", odd / "echo", "--engine", "docker", "--detach", *options, *ports)
    assert served.code == 0, served.stderr
    run = inspect("tfsctl-composed")
    assert seen(composed) == seen(run)
    assert composed["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def seen(facts: dict[str, Any]) -> dict[str, Any]:
    """What a container may do and sees, without its names and times."""
    host, config = facts["HostConfig"], facts["Config"]
    kind, *test = config["Healthcheck"]["Test"]
    kept = ("PortBindings", "ReadonlyRootfs", "CapDrop", "Memory", "Init", "Privileged", "PidsLimit")
    return {name: host[name] for name in kept} | {
        "cap_add": host["CapAdd"] or [],
        "tmpfs": sorted(host["Tmpfs"]),
        "security": [option.removesuffix(":true") for option in host["SecurityOpt"]],
        "environment": sorted(config["Env"]),
        "health": (shlex.split(test[0]) if kind == "CMD-SHELL" else test, config["Healthcheck"]["Interval"]),
        "arguments": facts["Args"],
        "user": config["User"],
        "mounts": sorted(
            (mount["Source"].replace("/configs/.compose/", "/configs/"), mount["Destination"], mount["RW"])
            for mount in facts["Mounts"]
        ),
    }
