"""The docker engine: TensorFlow Serving in a container, run with the `docker` command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tfsctl.engines.docker import container as docker_container
from tfsctl.engines.docker import daemon as docker_daemon
from tfsctl.engines.docker import image as docker_image
from tfsctl.engines.docker import model_tree, operations
from tfsctl.engines.docker.container import Container, docker
from tfsctl.engines.docker.container_spec import LABEL, STATE_LABEL, container_name, container_of
from tfsctl.engines.docker.daemon import Daemon
from tfsctl.engines.docker.errors import refused
from tfsctl.engines.planning.launch_spec import DEFAULT_TAG, Launch
from tfsctl.engines.planning.preflight import Found
from tfsctl.engines.registry import state_dir
from tfsctl.errors import DockerError, ProgramFailed
from tfsctl.programs import subprocesses

RUN_S = 300.0  # a container of a new image can take a while to be made


def check() -> str:
    """The daemon's name and version. Raises DockerError when there is no docker, or no daemon that answers."""
    return docker_daemon.find().title


def fit(launch: Launch, founds: Sequence[Found]) -> tuple[Launch, list[str]]:
    """The launch for the daemon that answers (else for an ordinary one), and what about it may surprise."""
    try:
        daemon = docker_daemon.find()
    except DockerError:  # `start` says so; until then the command for another machine can be had
        daemon = Daemon()
    options, notes = launch.container, []
    platform = docker_image.platform_for(options, daemon.architecture)
    if platform is not None and options.platform is None:
        notes.append(
            f"{options.image} is made for amd64 and will be emulated on {daemon.architecture}, which is slow and may "
            "crash; --engine embedded runs natively"
        )
    if docker_image.is_stock(options.image):
        tag = docker_image.split(options.image)[1]
        if tag in ("", "latest"):
            notes.append(
                f"{options.image} is whatever was newest when it was pulled; --tag {DEFAULT_TAG} is what it says"
            )
        elif options.gpus and not tag.endswith("gpu"):
            notes.append(f"{options.image} has no use for --gpus; --tag {tag}-gpu has")
    if options.memory and not daemon.limits_memory:
        notes.append("this Docker cannot limit memory: --memory has no effect")
    for found in founds:
        notes += operations.notes(found.model.name, found.saved_model, options.image)
    user = options.user or daemon.container_user
    fitted = replace(options, platform=platform, user=user, unlabelled=daemon.selinux)
    return replace(launch, container=fitted), notes


def command(launch: Launch) -> list[str]:
    """The `docker run` that starts it."""
    return container_of(launch).run_command()


def prepare(launch: Launch, founds: Sequence[Found]) -> None:
    """Have everything here that the container needs. Raises DockerError, EngineError."""
    daemon = docker_daemon.find()
    if daemon.remote:
        at = f" at {daemon.endpoint}" if daemon.endpoint else ""
        raise DockerError(
            f"the Docker daemon{at} is on another machine, which cannot see {founds[0].model.base_path}",
            hint=f"tfsctl image build {shlex.quote(founds[0].model.base_path)} puts the model into an image; "
            "or --engine embedded",
        )
    reads_all = "DAC_OVERRIDE" in launch.container.cap_add
    reader = None if reads_all else model_tree.reader_of(launch.container.user, remapped=daemon.remapped)
    for found in founds:
        model_tree.check(Path(found.model.base_path), found.folders, reader)
        operations.check(found.model.name, found.saved_model, launch.container.image)
    docker_image.provide(launch.container)


def start(launch: Launch, *, detach: bool) -> Container:  # noqa: ARG001 - a container is always detached from us
    """Start the container; its image is here. Raises DockerError."""
    _remove_ended(launch.name)
    name = container_name(launch.name)
    spec = container_of(replace(launch, container=replace(launch.container, pull="never")))  # `prepare` did
    try:
        container = subprocesses.run(spec.run_command(), timeout_s=RUN_S).stdout.strip().splitlines()[-1]
    except ProgramFailed as error:
        if "is already in use" in error.stderr and name in error.stderr:
            raise _name_in_use(launch.name) from error
        _remove_ended(launch.name)  # one that was made but could not start
        raise refused("docker run", error) from error
    try:
        return Container(container, launch)
    except DockerError:
        docker_container.stop(container)
        raise


def _name_in_use(server: str) -> DockerError:
    """The error for a name that a container has: one of ours that is not on the list, another tfsctl's, or a stranger."""
    name = container_name(server)
    said = docker("inspect", "--format", f'{{{{index .Config.Labels "{STATE_LABEL}"}}}}', name)
    whose = "" if said == "<no value>" else said
    exists, remove = f"a container named {name} exists already", f"docker rm --force {name}"
    if whose == str(state_dir.base()):
        exists, remove = f"a server named {server} runs already", f"tfsctl stop {server}"
    elif whose:
        exists += f", started with TFSCTL_STATE_DIR={whose}"
        remove = f"TFSCTL_STATE_DIR={shlex.quote(whose)} tfsctl stop {server}"
    return DockerError(exists, hint=f"--name ANOTHER_NAME; or {remove}, if nobody needs it")


def _remove_ended(server: str) -> None:
    """Remove what is left of an earlier container of this server that ended by itself."""
    ours = ("--filter", f"label={LABEL}={server}", "--filter", f"label={STATE_LABEL}={state_dir.base()}")
    ended = docker("ps", "--all", "--quiet", *ours, "--filter", "status=exited", "--filter", "status=created")
    for container in ended.split():
        docker("rm", container)
