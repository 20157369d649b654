"""The text of Dockerfiles and Compose files. tests/docker runs them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from cli_runner import RunCli
from echo_models import write_echo_model
from fake_docker import VERSION, FakeDocker
from graph_models import GraphModel
from model_servers import clean_environment

from tfsctl.core.version_files.file_hashes import content_hash
from tfsctl.engines import state_dir
from tfsctl.errors import ExitCode


@pytest.fixture(autouse=True)
def _no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither needs Docker to be printed."""
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """The base directory of a model with two versions."""
    write_echo_model(tmp_path / "echo/1")
    write_echo_model(tmp_path / "echo/2")
    return tmp_path / "echo"


def dockerfile(run_cli: RunCli, *arguments: object) -> dict[str, str]:
    """The instructions of a printed Dockerfile."""
    printed = run_cli("image", "build", "--print-dockerfile", *arguments)
    assert printed.code == 0, printed.stderr
    instructions = (line.partition(" ") for line in printed.stdout.replace("\\\n", "").splitlines())
    return {word: rest for word, _, rest in instructions}


def service(run_cli: RunCli, *arguments: object) -> dict[str, Any]:
    """The one service of a printed Compose file."""
    printed = run_cli("compose", *arguments)
    assert printed.code == 0, printed.stderr
    (found,) = yaml.safe_load(printed.stdout)["services"].values()
    facts: dict[str, Any] = found
    return facts


def test_a_dockerfile_of_one_model(run_cli: RunCli, echo: Path) -> None:
    """The highest version, not as root, with a health check and labels, and the image's own entrypoint."""
    written = dockerfile(run_cli, echo, "--base-image", "serving:1.2")

    assert list(written) == ["FROM", "COPY", "ENV", "LABEL", "USER", "HEALTHCHECK"]
    assert (written["FROM"], written["ENV"]) == ("serving:1.2", "MODEL_NAME=echo")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", written["USER"])
    labels = dict(re.findall(r'(\S+)="(.*?)"', written["LABEL"]))
    assert labels == {
        "org.opencontainers.image.title": "echo",
        "org.opencontainers.image.base.name": "serving:1.2",
        "org.opencontainers.image.version": "2",
        "tfsctl.model.echo.version": "2",
        "tfsctl.model.echo.fingerprint": content_hash(echo / "2"),
    }


def test_the_source_of_an_exported_model_is_a_label(run_cli: RunCli, echo: Path) -> None:
    """From the manifest that `export` wrote."""
    (echo / "2/assets.extra").mkdir()
    (echo / "2/assets.extra/tfsctl_manifest.json").write_text('{"source": {"sha256": "abc"}}')

    assert 'tfsctl.model.echo.source="sha256:abc"' in dockerfile(run_cli, echo)["LABEL"]


def test_options_are_in_the_entrypoint(run_cli: RunCli, echo: Path) -> None:
    """Arguments of `docker run` do not replace them. One version needs no model config."""
    assert "ENTRYPOINT" not in dockerfile(run_cli, echo / "1")
    written = dockerfile(run_cli, f"--model=e={echo},versions=all", "--no-warmup")

    assert json.loads(written["ENTRYPOINT"]) == [
        "/usr/bin/tf_serving_entrypoint.sh",
        "--model_config_file=/etc/tfsctl/models.config",
        "--enable_model_warmup=false",
    ]


def test_the_health_check_runs_in_bash(run_cli: RunCli, echo: Path) -> None:
    """Docker expands nothing in it."""
    check = dockerfile(run_cli, echo)["HEALTHCHECK"]
    bash, option, script, *arguments = json.loads(check.partition(" CMD ")[2])

    assert (bash, option, *arguments) == ("bash", "-c", "health", "8501", "echo")
    assert "start-period" in check
    subprocess.run(["/bin/bash", "-n", "-c", script], check=True)


def test_content_hash_covers_names_and_contents(tmp_path: Path) -> None:
    """The same for a copy, another for anything that differs; how it is divided into files matters."""
    seen = set()
    for number, files in enumerate(
        [{"a": "xy"}, {"a": "x", "b": "y"}, {"b": "xy"}, {"d/a": "xy"}, {"a": "xy", "b": ""}]
    ):
        for copy in ("one", "two"):
            for name, text in files.items():
                place = tmp_path / f"{number}{copy}" / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text)
        first, second = content_hash(tmp_path / f"{number}one"), content_hash(tmp_path / f"{number}two")
        assert first == second
        seen.add(first)
    assert len(seen) == 5


def test_podman_builds_in_docker_format(
    run_cli: RunCli, echo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own image format has no health check."""
    docker = FakeDocker(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    docker.expect(*VERSION, stdout='{"Client":{"Version":"4.3.1","OsArch":"linux/amd64"}}')
    docker.expect("info", stdout="true false false\n")
    docker.expect("build", "--tag", "echo:2", "--format", "docker")
    docker.expect("image", "inspect", stdout="sha256:1 1000000\n")

    built = run_cli("image", "build", echo)
    assert (built.code, built.stdout.splitlines()[0]) == (0, "built: echo:2 (1 MB)"), built.stderr
    docker.check()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_interrupted_build_removes_its_context(echo: Path, tmp_path: Path, number: signal.Signals) -> None:
    """The copies of the models are deleted."""
    docker, temporary = FakeDocker(tmp_path / "bin"), tmp_path / "temporary"
    temporary.mkdir()
    docker.expect_daemon()
    docker.expect("build", stderr="Step 1/9 : FROM tensorflow/serving\n", takes_s=60)
    places = {"PATH": f"{tmp_path / 'bin'}", "TMPDIR": str(temporary)}
    argv = [sys.executable, "-m", "tfsctl", "image", "build", str(echo)]
    process = subprocess.Popen(argv, env=clean_environment(tmp_path) | places, stderr=subprocess.PIPE)
    deadline_s = time.monotonic() + 240
    while not any(call[0] == "build" for call in docker.calls()) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert len(list(temporary.iterdir())) == 1

    process.send_signal(number)
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 130, stderr
    assert b"Traceback" not in stderr
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("command", [("image", "build", "--print-dockerfile"), ("compose",)])
def test_unsupported_operations_are_refused(run_cli: RunCli, tmp_path: Path, command: tuple[str, ...]) -> None:
    """As `serve` does."""
    model = GraphModel()
    model.op("ZeroOut", "zeroed", model.input("x"))
    model.write(tmp_path / "custom/1")
    refused = run_cli(*command, tmp_path / "custom")

    assert (refused.code, refused.stdout) == (ExitCode.FAILED, "")
    assert "error: custom uses the operation ZeroOut, which tensorflow/serving:2.20.0 does not have" in refused.stderr


def test_the_build_context_is_described(run_cli: RunCli, echo: Path) -> None:
    """With --print-dockerfile, and with the notes on the model."""
    stderr = run_cli("image", "build", "--print-dockerfile", echo / "1").stderr

    assert f"note: models/echo/1 in the build context is {echo}/1\n" in stderr
    assert "note: echo was written by TensorFlow 2.21.0, newer than tensorflow/serving:2.20.0\n" in stderr


def test_an_image_of_several_models_names_them_all(run_cli: RunCli, echo: Path, tmp_path: Path) -> None:
    """In its default name, its title and the answer. --name replaces the name."""
    write_echo_model(tmp_path / "other/5")
    written = dockerfile(run_cli, echo, tmp_path / "other")
    assert 'org.opencontainers.image.title="echo-other"' in written["LABEL"]
    answer = run_cli("image", "build", echo, tmp_path / "other", "--output", tmp_path / "context")
    assert answer.stdout.splitlines() == [
        f"wrote {tmp_path}/context",
        "  echo version 2",
        "  other version 5",
        f"  docker build --tag echo-other:latest {tmp_path}/context",
    ]
    options = ("--name", "shop", "--output", tmp_path / "named", "--json")
    named = json.loads(run_cli("image", "build", echo, tmp_path / "other", *options).stdout)
    assert (named["image"], named["models"]) == ("shop:latest", {"echo": [2], "other": [5]})


def test_the_whole_build_context_is_written(run_cli: RunCli, echo: Path, tmp_path: Path) -> None:
    """Without Docker: the models, config files and the Dockerfile. Nothing is overwritten."""
    context = tmp_path / "a/context"
    options = ("--metrics", "--label", "team=search", "--output", context)
    answer = run_cli("image", "build", echo, *options)
    assert answer.code == 0, answer.stderr
    files = sorted(str(path.relative_to(context)) for path in context.rglob("*") if path.is_file())
    assert files == ["Dockerfile", "config/monitoring.config", "models/echo/2/saved_model.pb"]
    assert 'team="search"' in (context / "Dockerfile").read_text()

    refused = run_cli("image", "build", echo, *options)
    assert (refused.code, refused.stdout) == (ExitCode.USAGE, "")
    assert f"error: {context} exists and is not an empty directory\n" in refused.stderr


def test_an_image_with_tls_contains_the_key(run_cli: RunCli, echo: Path, tmp_path: Path) -> None:
    """A note says so."""
    authority = trustme.CA()
    issued = authority.issue_cert("example.com")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    files = ("--ssl-cert", tmp_path / "cert.pem", "--ssl-key", tmp_path / "key.pem")
    answer = run_cli("image", "build", echo, *files, "--output", tmp_path / "context")

    assert answer.code == 0, answer.stderr
    assert "note: the image contains the private key: whoever can read the image can read the key\n" in answer.stderr
    assert "PRIVATE KEY" in (tmp_path / "context/config/ssl.config").read_text()
    assert "--ssl_config_file=/etc/tfsctl/ssl.config" in (tmp_path / "context/Dockerfile").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tag", "Echo:1"), "--tag 'Echo:1' is not NAME:TAG: names of images are in lower case"),
        (("--base-image", "a b"), "'a b' is not an image reference"),
        (("--label", "team"), "--label 'team' is not KEY=VALUE"),
        (
            ("--label", "tfsctl.model.echo.version=1"),
            "--label tfsctl.model.echo.version: labels that begin with tfsctl.",
        ),
        (("--push",), "--push needs an image name with a registry"),
        (
            ("--push", "--tag", "r.example/e:1", "--output", "x"),
            "--push cannot be used with --output, which builds no image",
        ),
        (("--ssl-cert", "cert.pem"), "--ssl-cert and --ssl-key are needed together"),
    ],
)
def test_options_of_an_image_are_checked_first(
    run_cli: RunCli, echo: Path, options: tuple[str, ...], message: str
) -> None:
    """Docker is not called."""
    refused = run_cli("image", "build", echo, *options)
    assert (refused.code, refused.stdout) == (ExitCode.USAGE, "")
    assert f"error: {message}" in refused.stderr


def test_a_quiet_build_is_pushed(
    run_cli: RunCli, echo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The progress is shown only if it fails."""
    docker = FakeDocker(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    docker.expect_daemon()
    docker.expect("build", "--tag", "r.example/echo:1", stdout="Step 1/9\n")
    docker.expect("push", "r.example/echo:1", stdout="Preparing\n")
    docker.expect("image", "inspect", stdout="sha256:1 1000000\n")
    options = ("--tag", "r.example/echo:1", "--push", "--quiet")
    pushed = run_cli("image", "build", echo, *options)
    assert pushed.code == 0, pushed.stderr
    assert pushed.stdout.startswith("pushed: r.example/echo:1 (1 MB)\n  echo version 2\n")
    assert "Step" not in pushed.stderr + capfd.readouterr().err

    docker.expect("push", "r.example/echo:1", stderr="denied: no access\n", code=1)
    failed = run_cli("image", "build", echo, *options)
    assert (failed.code, failed.stdout) == (ExitCode.DOCKER, "")
    assert failed.stderr.endswith(
        "denied: no access\nerror: cannot push r.example/echo:1; docker's output is above\n"
        "hint: docker login r.example, if the registry denied access\n"
    )
    docker.check()


def test_a_compose_file_equals_docker_run(run_cli: RunCli, echo: Path) -> None:
    """The same ports, mounts, variables and hardening, plus a health check and a restart policy."""
    written = service(run_cli, echo, "--image", "serving:1.2", "--memory", "2g")

    assert written.pop("healthcheck")["test"][:3] == ["CMD", "bash", "-c"]
    written.pop("user", None)  # who runs the tests
    assert written == {
        "image": "serving:1.2",
        "environment": {"MODEL_NAME": "echo"},
        "ports": ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"],
        "volumes": [{"type": "bind", "source": str(echo), "target": "/models/echo", "read_only": True}],
        "init": True,
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108 - a directory of the container
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "mem_limit": "2g",
        "pids_limit": 4096,
        "restart": "unless-stopped",
    }


def test_dollar_signs_are_escaped_for_compose(run_cli: RunCli, echo: Path) -> None:
    """In paths and values."""
    odd = echo.rename(echo.parent / "a$HOME")
    written = service(run_cli, odd, "--name", "echo", "--env", "A=$B", "--env", "PASSED_ON")

    assert written["volumes"][0]["source"] == f"{echo.parent}/a$$HOME"
    assert written["environment"] == {"MODEL_NAME": "echo", "A": "$$B", "PASSED_ON": None}


@pytest.mark.parametrize(
    ("gpus", "device"),
    [("all", {"count": "all"}), ("2", {"count": 2}), ("device=0,2", {"device_ids": ["0", "2"]})],
)
def test_gpus_become_a_device_reservation(run_cli: RunCli, echo: Path, gpus: str, device: dict[str, Any]) -> None:
    """The image is the one for GPUs."""
    written = service(run_cli, echo, "--gpus", gpus)

    assert written["image"].endswith("-gpu")
    (reserved,) = written["deploy"]["resources"]["reservations"]["devices"]
    assert reserved == {"driver": "nvidia", "capabilities": ["gpu"]} | device


def test_hardening_can_be_relaxed(run_cli: RunCli, echo: Path) -> None:
    """With the same options as for `serve`."""
    written = service(run_cli, echo, "--writable-root", "--new-privileges", "--cap-add", "SYS_NICE")

    assert written["cap_add"] == ["SYS_NICE"]
    assert not {"read_only", "tmpfs", "security_opt"} & set(written)


def test_stop_keeps_the_files_of_a_compose_file(run_cli: RunCli, echo: Path) -> None:
    """The generated files of servers are deleted when they stop."""
    written = service(run_cli, echo, "--metrics")
    folder = Path(written["volumes"][1]["source"])
    state_dir.remove_config_files("echo")

    assert written["command"] == ["--monitoring_config_file=/etc/tfsctl/monitoring.config"]
    assert (folder / "monitoring.config").is_file()


def test_the_pull_policy_is_in_the_compose_file(run_cli: RunCli, echo: Path) -> None:
    """Compose has the same default."""
    assert "pull_policy" not in service(run_cli, echo, "--pull", "missing")
    assert [service(run_cli, echo, "--pull", when)["pull_policy"] for when in ("always", "never")] == [
        "always",
        "never",
    ]


def test_a_compose_file_as_json(run_cli: RunCli, echo: Path) -> None:
    """The same document."""
    as_json = json.loads(run_cli("compose", echo, "--json").stdout)

    assert as_json["services"]["echo"] == service(run_cli, echo)


def test_container_options_are_in_the_compose_file(run_cli: RunCli, echo: Path) -> None:
    """Also a network that was made before, and the size of the log."""
    options = (
        "--cpus",
        "1.5",
        "--shm-size",
        "64m",
        "--user",
        "7:8",
        "--label",
        "team=a$b",
        "--restart",
        "on-failure:3",
    )
    written = service(run_cli, echo, *options, "--log-max-size", "5m", "--network", "back")

    assert (written["cpus"], written["shm_size"], written["user"]) == (1.5, "64m", "7:8")
    assert (written["labels"], written["restart"]) == ({"team": "a$$b"}, "on-failure:3")
    assert written["logging"] == {"options": {"max-size": "5m", "max-file": "2"}}
    assert written["networks"] == ["back"]
    printed = yaml.safe_load(run_cli("compose", echo, "--network", "back").stdout)
    assert printed["networks"] == {"back": {"external": True}}

    on_host = service(run_cli, echo, "--network", "host")
    assert on_host["network_mode"] == "host"
    assert "ports" not in on_host
    assert on_host["command"] == ["--port=8500", "--rest_api_port=8501"]


def test_docker_arguments_are_refused_for_compose(run_cli: RunCli, echo: Path) -> None:
    """Instead of being dropped silently."""
    refused = run_cli("compose", echo, "--docker-arg=--memory-swap=2g")

    assert (refused.code, refused.stdout) == (ExitCode.USAGE, "")
    assert (
        refused.stderr
        == "error: --docker-arg cannot be written to a Compose file\nhint: remove --docker-arg, and add the setting to the Compose file\n"
    )
