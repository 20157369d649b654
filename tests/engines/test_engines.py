"""The three engines: which one is chosen and why, and the exact command line of each."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from fake_docker import VERSION, FakeDocker
from fake_model_server import install

from tfsctl.core import protos
from tfsctl.engines import state_dir
from tfsctl.engines.docker.container_spec import Mount, config_inside, container_spec_for
from tfsctl.engines.docker.health import health_check
from tfsctl.engines.launch_spec import ContainerOptions, LaunchSpec
from tfsctl.engines.planning.engine_choice import ENGINES, choose
from tfsctl.errors import DockerError, EngineError, ExitCode
from tfsctl.programs import subprocesses
from tfsctl.server.config.command_line import parse
from tfsctl.serving_config import messages
from tfsctl.serving_config.model_config import ModelConfig, VersionPolicy
from tfsctl.serving_config.serving_config import ServingConfig, TlsFiles

ECHO = ModelConfig("echo", "/models on disk/echo")
PINNED = ModelConfig("echo", "/models on disk/echo", VersionPolicy(specific=(3,)))


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An otherwise empty PATH to put programs on."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def fake_docker(path: Path) -> Iterator[FakeDocker]:
    """A `docker` on PATH that does what a test says, and nothing else."""
    fake = FakeDocker(path)
    yield fake
    fake.check()


def stop_daemon(fake: FakeDocker) -> None:
    """Have nobody answer."""
    words = "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"
    fake.expect(*VERSION, stdout='{"Client":{},"Server":null}', stderr=f"{words}\n", code=1)


def launch(model: ModelConfig, *, host: str = "127.0.0.1", rest_port: int = 8501, grpc_port: int = 8500) -> LaunchSpec:
    """A launch of one model."""
    config = ServingConfig((model,), grpc_port=grpc_port, rest_port=rest_port)
    return LaunchSpec("echo", config, host, container=ContainerOptions(image="serving:1.2"))


def test_auto_chooses_docker_if_a_daemon_answers(path: Path, fake_docker: FakeDocker) -> None:
    """The reason is its version."""
    fake_docker.expect_daemon("28.2.2")
    install(path)

    assert choose("auto") == ("docker", "Docker 28.2.2")


def test_auto_chooses_the_binary_without_a_daemon(path: Path, fake_docker: FakeDocker) -> None:
    """The reason is its path, and briefly why it is not Docker."""
    stop_daemon(fake_docker)
    program = install(path)

    engine, reason = choose("auto")
    assert engine == "binary"
    assert reason == f"{program}; the Docker daemon does not respond"


def test_auto_falls_back_to_the_embedded_server() -> None:
    """The reason says briefly what is missing."""
    assert choose("auto") == (
        "embedded",
        "tfsctl's own server; docker is not installed; tensorflow_model_server is not on PATH",
    )


def test_no_docker_and_no_daemon_are_two_errors(path: Path) -> None:
    """Both are DockerErrors, with different ways out; a socket that is closed to us is a third."""
    with pytest.raises(DockerError, match=r"^docker is not installed: there is no `docker` on PATH$") as missing:
        ENGINES["docker"].check()
    fake = FakeDocker(path)
    stop_daemon(fake)
    with pytest.raises(DockerError, match=r"^the Docker daemon does not respond: Cannot .* running[?]$") as stopped:
        ENGINES["docker"].check()
    fake.expect(*VERSION, stderr="permission denied while trying to connect to the Docker daemon socket\n", code=1)
    with pytest.raises(
        DockerError, match=r"^this user has no access to the Docker daemon: permission denied "
    ) as closed:
        ENGINES["docker"].check()

    fake.check()
    assert missing.value.hint.startswith("install Docker, or")
    assert stopped.value.hint.startswith("start it ")
    assert closed.value.hint.startswith("sudo usermod ")
    assert missing.value.exit_code == stopped.value.exit_code == closed.value.exit_code == ExitCode.DOCKER


def test_a_named_engine_is_not_checked() -> None:
    """Its command line can be printed on a machine where it cannot run."""
    assert choose("docker") == ("docker", "")
    assert choose("binary") == ("binary", "")
    with pytest.raises(EngineError, match=r"^tensorflow_model_server is not on PATH$"):
        ENGINES["binary"].check()


def test_the_engines_share_the_flags_of_tensorflow_serving() -> None:
    """The embedded server has two more: the address, and who may reload models."""
    flags = ["--port=8500", "--rest_api_port=8501", "--model_name=echo", "--model_base_path=/models on disk/echo"]

    assert ENGINES["binary"].command(launch(ECHO)) == ["tensorflow_model_server", *flags]
    assert ENGINES["embedded"].command(launch(ECHO)) == [
        *(sys.executable, "-m", "tfsctl.server", "--host=127.0.0.1", "--model_reload=local"),
        *flags,
    ]


def test_the_docker_command_line_is_what_a_careful_person_types() -> None:
    """Published on one address, mounted read-only, labelled; the entrypoint knows the other flags."""
    command = ENGINES["docker"].command(launch(ECHO))
    assert command[-13:] == [
        *("--pids-limit", "4096", "--health-cmd", command[-10]),
        *("--health-interval", "2s", "--health-start-period", "60s", "--health-timeout", "5s"),
        *("--health-retries", "15", "serving:1.2"),
    ]
    assert command[:-13] == [
        *("docker", "run", "--detach", "--init", "--read-only", "--name", "tfsctl-echo"),
        *("--label", "tfsctl.server=echo", "--label", "tfsctl.models=echo"),
        *("--label", f"tfsctl.state={state_dir.base()}"),
        *("--publish", "127.0.0.1:8500:8500", "--publish", "127.0.0.1:8501:8501"),
        *("--mount", "type=bind,source=/models on disk/echo,target=/models/echo,readonly"),
        *("--env", "MODEL_NAME=echo"),
        *("--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),  # noqa: S108
    ]


def test_an_ipv6_address_is_published_in_brackets() -> None:
    """Docker cannot tell the colons apart otherwise."""
    assert "[::1]:8501:8501" in ENGINES["docker"].command(launch(ECHO, host="::1"))


def test_a_free_port_is_chosen_where_zero_would_be_off() -> None:
    """To tensorflow_model_server port 0 means no port; the command line has a real one."""
    _, grpc, rest, *_ = ENGINES["binary"].command(launch(ECHO, rest_port=0, grpc_port=0))

    assert int(grpc.removeprefix("--port=")) > 1023
    assert int(rest.removeprefix("--rest_api_port=")) > 1023
    assert grpc.removeprefix("--port=") != rest.removeprefix("--rest_api_port=")


def test_a_pinned_version_needs_a_config_file() -> None:
    """The same file each time. It is written when the server starts."""
    argv = ENGINES["binary"].command(launch(PINNED))
    state_dir.write_config_files(launch(PINNED).config.files(), server="echo")
    flag = argv[-1]
    text = Path(flag.removeprefix("--model_config_file=")).read_text(encoding="utf-8")

    assert flag.startswith("--model_config_file=/")
    assert 'base_path: "/models on disk/echo"' in text
    assert "versions: 3" in text
    assert ENGINES["binary"].command(launch(PINNED)) == argv
    assert not [word for word in argv if word.startswith("--model_name")]


def test_a_container_mounts_its_config_file() -> None:
    """The file has the path of the model in the container."""
    argv = ENGINES["docker"].command(launch(PINNED))
    state_dir.write_config_files(config_inside(launch(PINNED).config).files(), server="echo")
    source = next(word for word in argv if word.endswith(",target=/etc/tfsctl,readonly"))
    source = source.removeprefix("type=bind,source=").removesuffix(",target=/etc/tfsctl,readonly")

    assert argv[-2:] == ["serving:1.2", "--model_config_file=/etc/tfsctl/models.config"]
    assert 'base_path: "/models/echo"' in Path(source, "models.config").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("/a b/c", "type=bind,source=/a b/c,target=/t,readonly"),
        ("/a,b", 'type=bind,"source=/a,b",target=/t,readonly'),
        ('/say "hi"', 'type=bind,"source=/say ""hi""",target=/t,readonly'),
        ("/it's=ü", "type=bind,source=/it's=ü,target=/t,readonly"),
    ],
)
def test_a_mount_is_a_csv_record(source: str, written: str) -> None:
    """Docker parses it as one, so a path may contain commas and quotes."""
    assert str(Mount(source, "/t")) == written


def test_a_launch_spec_is_stored_as_json() -> None:
    """The record of a server holds it, and `restart` reads it."""
    models = (PINNED, ModelConfig("two", "/two", VersionPolicy(all_versions=True), {"stable": 3}))
    config = ServingConfig(models, 1, 2, batching="", metrics=True, tls=TlsFiles("c", "k"), more_flags=("--a=b",))
    options = ContainerOptions("i", gpus="all", docker_arguments=("--cpus", "2"), cap_add=("SYS_NICE",))
    whole = LaunchSpec("two", config, "::1", (("A", "b=c"),), options)

    assert LaunchSpec.from_document(json.loads(json.dumps(whole.to_document()))) == whole


@pytest.mark.parametrize(
    "document",
    [None, {}, {"container": 1}, {"container": {}, "name": "m", "host": "h", "environment": [1], "config": []}],
)
def test_a_launch_spec_of_another_version(document: dict[str, object] | None) -> None:
    """It is an error with a hint, not a bug: a record may be from another version of tfsctl."""
    with pytest.raises(EngineError, match="the command line of shop is unknown"):
        LaunchSpec.of_server("shop", document)


ODD_NAMES = ("a/b", "my model", "$(touch x)", "../../up", "~", "a,b", "m")


def test_model_names_never_become_paths_or_shell_words() -> None:
    """Names in a model config file may be anything: in a container they are in its config file only."""
    config = ServingConfig(tuple(ModelConfig(name, "/m") for name in ODD_NAMES))
    spec = container_spec_for(LaunchSpec("shop", config, "127.0.0.1"))

    targets = [mount.target for mount in spec.mounts]
    assert targets == [*(f"/models/.model-{number}" for number in range(1, 7)), "/models/m", "/etc/tfsctl"]
    assert spec.environment["MODEL_NAME"] == "a_b"
    text = config_inside(config).files()["models.config"]
    parsed = messages.parse_text(protos.ModelServerConfig(), text, source="").model_config_list.config
    assert [(model.name, model.base_path) for model in parsed] == list(zip(ODD_NAMES, targets, strict=False))

    one = ServingConfig((ModelConfig("my model", "/m"),))
    assert "--model_config_file=/etc/tfsctl/models.config" in one.flags("/etc/tfsctl")


def test_the_health_check_never_makes_a_model_name_shell_text(tmp_path: Path) -> None:
    """Names are URL-quoted arguments, also in the text that `docker run --health-cmd` gives to a shell."""
    check = health_check(ODD_NAMES, 8501)
    bash, option, script, name, port, *models = check.command
    assert (bash, option, name, port) == ("bash", "-c", "health", "8501")
    assert [unquote(model) for model in models] == list(ODD_NAMES)
    assert not any(model in script for model in ODD_NAMES[:-1])

    shown = check.shell_command.replace("bash -c ", "printf '%s\\n' ", 1)
    words = subprocesses.run(["/bin/sh", "-c", f"cd {tmp_path}; {shown}"]).stdout
    assert words == "".join(f"{word}\n" for word in (script, name, port, *models))
    assert not (tmp_path / "x").exists()


def test_the_first_health_probe_is_made_soon() -> None:
    """Docker waits for an interval before it. Docker 25 has another interval for the start."""
    assert health_check(["m"], 8501).interval_s <= 2
    check = health_check(["m"], 8501, start_probes=True)
    assert (check.start_interval_s, check.interval_s) == (1, 10)


def test_models_are_reloaded_by_local_peers_only_unless_the_user_says_otherwise() -> None:
    """The last of two flags counts."""
    spec = launch(ECHO)
    assert parse(ENGINES["embedded"].command(spec)[3:]).flags.model_reload == "local"

    config = replace(spec.config, more_flags=("--model_reload=all",))
    assert parse(ENGINES["embedded"].command(replace(spec, config=config))[3:]).flags.model_reload == "all"
