"""The docker engine: run TensorFlow Serving in a container, with the `docker` command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tfsctl.engines import state_dir
from tfsctl.engines.docker import container as docker_container
from tfsctl.engines.docker import daemon as docker_daemon
from tfsctl.engines.docker import image as docker_image
from tfsctl.engines.docker import mount_check, op_support
from tfsctl.engines.docker.container import Container, docker
from tfsctl.engines.docker.container_spec import LABEL, STATE_LABEL, config_inside, container_name, container_spec_for
from tfsctl.engines.docker.daemon import Daemon
from tfsctl.engines.docker.docker_errors import docker_error
from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.model_on_disk import ModelOnDisk
from tfsctl.errors import DockerError, ProgramFailed
from tfsctl.programs import subprocesses
from tfsctl.serving_config.stock_image import DEFAULT_TAG

RUN_TIMEOUT_S = 300.0  # the first container of an image can take long to create


def check() -> str:
    """The daemon's name and version. Raises DockerError if docker is not installed or no daemon answers."""
    return docker_daemon.find().title


def adapt(spec: LaunchSpec, models: Sequence[ModelOnDisk]) -> tuple[LaunchSpec, list[str]]:
    """The spec with platform, user and SELinux option for the daemon, and notes for the user."""
    try:
        daemon = docker_daemon.find()
    except DockerError:  # `start` raises it; the command line can still be printed for another machine
        daemon = Daemon()
    options, notes = spec.container, []
    platform = docker_image.platform_for(options, daemon.architecture)
    if platform is not None and options.platform is None:
        notes.append(
            f"{options.image} is made for amd64 and will be emulated on {daemon.architecture}, which is slow and may "
            "crash; --engine embedded runs natively"
        )
    if docker_image.is_stock(options.image):
        tag = docker_image.split_reference(options.image)[1]
        if tag in ("", "latest"):
            notes.append(
                f"{options.image} is whatever was newest when it was pulled; --tag {DEFAULT_TAG} is what it says"
            )
        elif options.gpus and not tag.endswith("gpu"):
            notes.append(f"{options.image} has no use for --gpus; --tag {tag}-gpu has")
    if options.memory and not daemon.limits_memory:
        notes.append("this Docker cannot limit memory: --memory has no effect")
    for model in models:
        notes += op_support.notes(model.name, model.saved_model, options.image)
    user = options.user or daemon.container_user
    adapted = replace(options, platform=platform, user=user, unlabelled=daemon.selinux)
    return replace(spec, container=adapted), notes


def command(spec: LaunchSpec) -> list[str]:
    """The `docker run` command line."""
    return container_spec_for(spec).run_command()


def prepare(spec: LaunchSpec, models: Sequence[ModelOnDisk]) -> None:
    """Check that the container can read and run the models, and pull its image. Raises DockerError, EngineError."""
    daemon = docker_daemon.find()
    if daemon.remote:
        at = f" at {daemon.endpoint}" if daemon.endpoint else ""
        raise DockerError(
            f"the Docker daemon{at} is on another machine, which cannot see {models[0].config.base_path}",
            hint=f"tfsctl image build {shlex.quote(models[0].config.base_path)} puts the model into an image; "
            "or --engine embedded",
        )
    reads_all = "DAC_OVERRIDE" in spec.container.cap_add
    reader = None if reads_all else mount_check.container_reader(spec.container.user, remapped=daemon.remapped)
    for model in models:
        mount_check.check(Path(model.config.base_path), model.folders, reader)
        op_support.check(model.name, model.saved_model, spec.container.image)
    docker_image.ensure_present(spec.container)


def start(spec: LaunchSpec, *, detach: bool) -> Container:  # noqa: ARG001 - a container is always detached
    """Start the container. `prepare` has pulled its image. Raises DockerError."""
    _remove_ended(spec.name)
    name = container_name(spec.name)
    state_dir.write_config_files(config_inside(spec.config).files(), server=spec.name)
    container_spec = container_spec_for(replace(spec, container=replace(spec.container, pull="never")))
    try:
        container = (
            subprocesses.run(container_spec.run_command(), timeout_s=RUN_TIMEOUT_S).stdout.strip().splitlines()[-1]
        )
    except ProgramFailed as error:
        if "is already in use" in error.stderr and name in error.stderr:
            raise _name_in_use(spec.name) from error
        _remove_ended(spec.name)  # a container that was created but could not start
        raise docker_error("docker run", error) from error
    try:
        return Container(container, spec)
    except DockerError:
        docker_container.stop(container)
        raise


def _name_in_use(server: str) -> DockerError:
    """The error for a container name that is in use: by a server of ours, of another state directory, or unrelated."""
    name = container_name(server)
    label = docker("inspect", "--format", f'{{{{index .Config.Labels "{STATE_LABEL}"}}}}', name)
    owner = "" if label == "<no value>" else label
    exists, remove = f"a container named {name} exists already", f"docker rm --force {name}"
    if owner == str(state_dir.base()):
        exists, remove = f"a server named {server} runs already", f"tfsctl stop {server}"
    elif owner:
        exists += f", started with TFSCTL_STATE_DIR={owner}"
        remove = f"TFSCTL_STATE_DIR={shlex.quote(owner)} tfsctl stop {server}"
    return DockerError(exists, hint=f"--name ANOTHER_NAME; or {remove}, if nobody needs it")


def _remove_ended(server: str) -> None:
    """Remove earlier containers of this server that have ended."""
    ours = ("--filter", f"label={LABEL}={server}", "--filter", f"label={STATE_LABEL}={state_dir.base()}")
    ended = docker("ps", "--all", "--quiet", *ours, "--filter", "status=exited", "--filter", "status=created")
    for container in ended.split():
        docker("rm", container)
