"""The image and the Docker daemon of a container, checked before it starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fake_docker import VERSION, FakeDocker

from tfsctl.engines.docker import daemon as docker_daemon
from tfsctl.engines.docker import engine as docker_engine
from tfsctl.engines.docker import image as docker_image
from tfsctl.engines.docker.daemon import Daemon
from tfsctl.engines.launch_spec import ContainerOptions, LaunchSpec
from tfsctl.engines.planning.serve_options import ServeOptions
from tfsctl.engines.planning.serve_plan import make_plan
from tfsctl.errors import DockerError

STOCK = "tensorflow/serving:2.20.0"


def test_an_image_for_another_platform_is_pulled(fake_docker: FakeDocker) -> None:
    """Unless --pull never: then `docker run` reports the platform."""
    fake_docker.expect("image", "inspect", stdout="linux/amd64\n")
    for platform in ("linux/amd64", "amd64", "linux/x86_64"):
        docker_image.ensure_present(ContainerOptions("here:1", platform=platform))
    docker_image.ensure_present(ContainerOptions("here:1", platform="linux/arm64", pull="never"))

    fake_docker.expect("pull", "--platform", "linux/arm64", "here:1", code=1)
    with pytest.raises(DockerError, match=r"^cannot pull here:1$") as refused:
        docker_image.ensure_present(ContainerOptions("here:1", platform="linux/arm64"))
    assert refused.value.hint == "the local image is not built for linux/arm64"


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("tensorflow/serving:2.20.0", ("tensorflow/serving", "2.20.0")),
        ("tensorflow/serving", ("tensorflow/serving", "")),
        ("localhost:5000/a/b", ("localhost:5000/a/b", "")),
        ("localhost:5000/a/b:1", ("localhost:5000/a/b", "1")),
        ("a/b:1@sha256:00", ("a/b", "1")),
    ],
)
def test_image_references_are_split(image: str, parts: tuple[str, str]) -> None:
    """The port of a registry is not a tag."""
    assert docker_image.split_reference(image) == parts


def test_a_present_image_is_not_pulled(fake_docker: FakeDocker) -> None:
    """Unless --pull always."""
    fake_docker.expect("image", "inspect", stdout="sha256:00\n")
    docker_image.ensure_present(ContainerOptions("here:1"))
    docker_image.ensure_present(ContainerOptions("here:1", pull="never"))
    assert [call[0] for call in fake_docker.calls()] == ["image", "image"]

    fake_docker.expect("pull", "here:1")
    docker_image.ensure_present(ContainerOptions("here:1", pull="always"))


def test_a_pull_shows_its_progress(fake_docker: FakeDocker, capfd: pytest.CaptureFixture[str]) -> None:
    """Docker's own output, on stderr."""
    fake_docker.expect("image", "inspect", stderr="Error: No such image: far:1\n", code=1)
    fake_docker.expect(
        "pull", "--platform", "linux/amd64", "far:1", stderr="1: Pulling\n2: Pull complete\n", takes_s=0.1
    )
    docker_image.ensure_present(ContainerOptions("far:1", platform="linux/amd64"))

    assert capfd.readouterr() == ("", "1: Pulling\n2: Pull complete\n")


def test_a_missing_image_is_an_error(fake_docker: FakeDocker) -> None:
    """If it may not be pulled, or if the pull fails."""
    fake_docker.expect("image", "inspect", stderr="Error: No such image: far:1\n", code=1)
    with pytest.raises(
        DockerError, match=r"^the image far:1 is not on this machine, and --pull never prevents "
    ) as forbidden:
        docker_image.ensure_present(ContainerOptions("far:1", pull="never"))
    assert forbidden.value.hint == "docker pull far:1"

    fake_docker.expect("pull", "far:1", stderr="Error response from daemon: no route to host\n", code=1)
    with pytest.raises(DockerError, match=r"^cannot pull far:1$"):
        docker_image.ensure_present(ContainerOptions("far:1"))


def test_gpus_are_checked_before_a_pull(fake_docker: FakeDocker) -> None:
    """With an empty image, which is removed. The image for GPUs is several gigabytes."""
    fake_docker.expect("image", "inspect", stderr="Error: No such image: far:1\n", code=1)
    fake_docker.expect("import", stdout="sha256:00\n")
    no_driver = 'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].\n'
    fake_docker.expect("run", stderr=no_driver, code=125)
    fake_docker.expect("image", "rm", "--force", "sha256:00")
    with pytest.raises(DockerError, match="Docker has no driver for GPUs") as refused:
        docker_image.ensure_present(ContainerOptions("far:1", gpus="all"))
    assert refused.value.hint.startswith("install the NVIDIA Container Toolkit")
    assert "pull" not in [call[0] for call in fake_docker.calls()]

    fake_docker.expect("run", stderr='docker: exec: "/none": no such file or directory.\n', code=127)
    fake_docker.expect("pull", "far:1")
    docker_image.ensure_present(ContainerOptions("far:1", gpus="all"))


def fitted(echo: Path, image: str = STOCK) -> tuple[LaunchSpec, tuple[str, ...]]:
    """The launch for docker, and the notes on it."""
    planned = make_plan(ServeOptions(paths=(echo,), engine="docker", container=ContainerOptions(image)))
    return planned.launch, planned.notes


def test_the_stock_image_is_emulated_on_arm(echo: Path, fake_docker: FakeDocker) -> None:
    """It exists for amd64 only. Other images are used as they are."""
    fake_docker.expect_daemon(arch="arm64")
    launch, notes = fitted(echo)

    assert "--platform linux/amd64" in " ".join(docker_engine.command(launch))
    assert any("will be emulated on arm64" in note for note in notes)
    launch, notes = fitted(echo, "mine:1")
    assert (launch.container.platform, notes) == (None, ())


def test_a_container_runs_as_our_user() -> None:
    """Except with a rootless daemon, and if we are root."""
    ours = None if os.getuid() == 0 else f"{os.getuid()}:{os.getgid()}"
    assert Daemon().container_user == ours
    assert Daemon(rootless=True).container_user is None
    assert Daemon(remapped=True).container_user is None


@pytest.mark.parametrize(
    ("security", "rootless", "remapped"),
    [
        ('["name=seccomp,profile=default"]', False, False),
        ('["name=seccomp,profile=default","name=rootless"]', True, False),
        ('["name=userns"]', False, True),
    ],
)
def test_rootless_and_remapped_daemons_are_detected(
    fake_docker: FakeDocker, security: str, *, rootless: bool, remapped: bool
) -> None:
    """They change which user reads the model."""
    fake_docker.expect_daemon("27.0.1", security=security)
    found = docker_daemon.find()

    assert (found.title, found.rootless, found.remapped, found.remote) == ("Docker 27.0.1", rootless, remapped, False)


def test_the_hint_for_an_unreachable_daemon_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting a local daemon would not help."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    fake = FakeDocker(tmp_path / "bin")
    fake.expect(*VERSION, stderr="Cannot connect to the Docker daemon at tcp://far:1.\n", code=1)
    for variable in ("DOCKER_CONTEXT", "DOCKER_HOST"):
        monkeypatch.setenv(variable, "far")
        with pytest.raises(DockerError) as refused:
            docker_daemon.find()
        assert refused.value.hint == f"start it, or unset {variable}; or use --engine embedded"
    fake.check()


def test_podman_is_detected(fake_docker: FakeDocker) -> None:
    """It reports no server, and has its own format of facts."""
    fake_docker.expect(*VERSION, stdout='{"Client":{"Version":"4.3.1","OsArch":"linux/arm64"}}')
    fake_docker.expect("info", "--format", docker_daemon.PODMAN_FACTS, stdout="true false true\n")

    assert docker_daemon.find() == Daemon("4.3.1", "arm64", rootless=True, podman=True, selinux=True)


def test_the_tag_latest_is_noted(echo: Path, fake_docker: FakeDocker) -> None:
    """It may be any old version."""
    fake_docker.expect_daemon()
    for image in ("tensorflow/serving", "tensorflow/serving:latest"):
        _, notes = fitted(echo, image)
        assert notes == (f"{image} has no fixed version: it was the newest when it was pulled; --tag 2.20.0 is fixed",)


def test_gpus_with_a_cpu_image_are_noted(echo: Path, fake_docker: FakeDocker) -> None:
    """Only for TensorFlow Serving's images."""
    fake_docker.expect_daemon()
    notes_of = {}
    for image in ("tensorflow/serving:2.19.0", "tensorflow/serving:2.19.0-gpu", "mine:1"):
        notes_of[image] = make_plan(
            ServeOptions(paths=(echo,), engine="docker", container=ContainerOptions(image, gpus="all"))
        ).notes

    assert (
        notes_of["tensorflow/serving:2.19.0"][0]
        == "tensorflow/serving:2.19.0 does not support --gpus; --tag 2.19.0-gpu does"
    )
    assert not [
        note for image in ("tensorflow/serving:2.19.0-gpu", "mine:1") for note in notes_of[image] if "gpu;" in note
    ]


def test_an_ineffective_memory_limit_is_noted(echo: Path, fake_docker: FakeDocker) -> None:
    """Docker ignores it with a warning, for example without cgroups."""
    fake_docker.expect_daemon(memory="false")
    request = ServeOptions(paths=(echo,), engine="docker", container=ContainerOptions("mine:1", memory="1g"))
    assert make_plan(request).notes == ("this Docker cannot limit memory: --memory has no effect",)
    fake_docker.expect_daemon()
    assert make_plan(request).notes == ()


def test_selinux_labels_are_turned_off(echo: Path, fake_docker: FakeDocker) -> None:
    """The labels of the mounted files would forbid reading them."""
    fake_docker.expect_daemon(security='["name=selinux"]')
    launch, _ = fitted(echo)

    assert "--security-opt label=disable" in " ".join(docker_engine.command(launch))


def test_a_daemon_on_another_machine_is_refused(echo: Path, fake_docker: FakeDocker) -> None:
    """It cannot see the model. The hint builds an image."""
    fake_docker.expect_daemon(host="ssh://me@far.example")
    launch, _ = fitted(echo, "mine:1")
    founds = make_plan(ServeOptions(paths=(echo,), engine="embedded")).models

    with pytest.raises(
        DockerError, match=r"^the Docker daemon at ssh://me@far\.example is on another machine"
    ) as refused:
        docker_engine.prepare(launch, founds)
    assert refused.value.hint.startswith(f"tfsctl image build {echo} ")


@pytest.mark.parametrize(
    ("endpoint", "elsewhere"),
    [
        ("", False),
        ("unix:///run/user/1000/docker.sock", False),
        ("npipe:////./pipe/docker_engine", False),
        ("tcp://127.0.0.1:2375", False),
        ("tcp://[::1]:2375", False),
        ("tcp://localhost:2375", False),
        ("tcp://192.0.2.1:2376", True),
        ("tcp://far.example:2376", True),
        ("ssh://localhost", True),
    ],
)
def test_a_remote_daemon_is_detected_by_its_address(endpoint: str, *, elsewhere: bool) -> None:
    """UNIX sockets and loopback addresses are local."""
    assert docker_daemon.is_elsewhere(endpoint) is elsewhere


@pytest.mark.parametrize(
    ("message", "cause", "hint"),
    [
        (
            'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].',
            "Docker has no driver for GPUs",
            "install the NVIDIA Container Toolkit",
        ),
        (
            "docker: Error response from daemon: driver failed programming external connectivity on endpoint x: "
            "Bind for 127.0.0.1:8501 failed: port is already allocated.",
            "a port is in use",
            "--rest-port 0",
        ),
        (
            "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
            "the Docker daemon does not respond",
            "start it ",
        ),
        (
            "Error: crun: container-init binary not found on the host: stat /usr/libexec/podman/catatonit",
            "Podman lacks its init program",
            "install the package catatonit",
        ),
        (
            'docker: Error response from daemon: invalid mount config for type "bind": bind source path does not exist: /m.',
            "Docker cannot see that directory",
            "tfsctl image build",
        ),
        (
            "unknown flag: --nosuch\n\nUsage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]",
            "unknown flag: --nosuch",
            "",
        ),
    ],
)
def test_docker_errors_are_explained(echo: Path, fake_docker: FakeDocker, message: str, cause: str, hint: str) -> None:
    """The error includes Docker's own message."""
    fake_docker.expect_daemon()
    fake_docker.expect("ps")
    fake_docker.expect("run", stderr=f"{message}\nSee 'docker run --help'.\n", code=125)
    launch, _ = fitted(echo, "mine:1")

    with pytest.raises(DockerError, match=f"^docker run failed: {cause}") as refused:
        docker_engine.start(launch, detach=True)
    assert refused.value.hint.startswith(hint)
    first = message.splitlines()[0].removeprefix("docker: ").removeprefix("Error response from daemon: ")
    assert first.rstrip(".")[-40:] in refused.value.message
    assert "Usage" not in refused.value.message
    (run,) = (call for call in fake_docker.calls() if call[0] == "run")
    assert run[run.index("--pull") + 1] == "never"  # the image was provided, with its progress shown
