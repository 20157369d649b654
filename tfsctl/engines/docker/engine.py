"""The docker engine: run TensorFlow Serving in a container, with the `docker` command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tfsctl.engines import ports, state_dir
from tfsctl.engines.docker import daemon as docker_daemon
from tfsctl.engines.docker import image as docker_image
from tfsctl.engines.docker import run_arguments
from tfsctl.engines.docker.checks import mount_check, op_support
from tfsctl.engines.docker.container import Container, docker
from tfsctl.engines.docker.container_spec import (
    HOST_NETWORK,
    config_inside,
    container_name,
    container_spec_for,
)
from tfsctl.engines.docker.daemon import Daemon
from tfsctl.engines.docker.docker_errors import docker_error, is_missing, is_port_conflict, reason_of
from tfsctl.engines.docker.labels import LABEL, STATE_LABEL
from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.model_on_disk import ModelOnDisk
from tfsctl.errors import DockerError, ProgramFailed
from tfsctl.programs import subprocesses
from tfsctl.serving_config.stock_image import DEFAULT_TAG

PORT_ATTEMPTS = 3  # with other free ports each time
_PUBLISHING_DRIVERS = ("bridge", "overlay", "nat")
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
            f"{options.image} is built for amd64 and will be emulated on {daemon.architecture}, which is slow and may "
            "crash; --engine embedded runs natively"
        )
    if docker_image.is_stock(options.image):
        tag = docker_image.split_reference(options.image)[1]
        if tag in ("", "latest"):
            notes.append(
                f"{options.image} has no fixed version: it was the newest when it was pulled; --tag {DEFAULT_TAG} is fixed"
            )
        elif options.gpus and not tag.endswith("gpu"):
            notes.append(f"{options.image} does not support --gpus; --tag {tag}-gpu does")
    if options.network == HOST_NETWORK:
        notes.append(f"with --network {HOST_NETWORK}, the server listens on every address of this machine")
    notes += run_arguments.notes(options.docker_arguments)
    if options.memory and not daemon.limits_memory:
        notes.append("this Docker cannot limit memory: --memory has no effect")
    for model in models:
        notes += op_support.notes(model.name, model.saved_model, options.image)
    user = options.user or daemon.container_user
    adapted = replace(
        options, platform=platform, user=user, unlabelled=daemon.selinux, start_probes=daemon.start_probes
    )
    return replace(spec, container=adapted), notes


def command(spec: LaunchSpec) -> list[str]:
    """The `docker run` command line."""
    return container_spec_for(ports.with_free_ports(spec)).run_command()


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
    is_other_user = daemon.remapped or (daemon.rootless and spec.container.user not in (None, "0", "0:0"))
    reader = None if reads_all else mount_check.container_reader(spec.container.user, remapped=is_other_user)
    for model in models:
        mount_check.check(Path(model.config.base_path), model.folders, reader)
        op_support.check(model.name, model.saved_model, spec.container.image)
    _check_network(spec.container.network)
    docker_image.ensure_present(spec.container)


def _check_network(network: str | None) -> None:
    """Raise DockerError if there is no such network, or if Docker publishes no ports of containers in it."""
    if network in (None, HOST_NETWORK, "default", "bridge"):
        return
    try:
        driver = subprocesses.run(["docker", "network", "inspect", "--format", "{{.Driver}}", network]).stdout.strip()
    except ProgramFailed as error:
        if is_missing(error):
            raise DockerError(
                f"there is no Docker network {network}", hint=f"docker network create {network}"
            ) from error
        raise docker_error("docker network inspect", error) from error
    if driver not in _PUBLISHING_DRIVERS:
        raise DockerError(
            f"the network {network} has the driver {driver}, and Docker does not publish its ports",
            hint="--network takes the name of a network of `docker network ls` with DRIVER bridge",
        )


def start(spec: LaunchSpec, *, detach: bool) -> Container:  # noqa: ARG001 - a container is always detached
    """Start the container. `prepare` has pulled its image. Raises DockerError.

    Docker chooses another port for each port 0 when the container is restarted. Concrete ports stay.
    """
    local = replace(spec, container=replace(spec.container, pull="never"))
    state_dir.write_config_files(config_inside(spec.config).files(), server=spec.name)
    with state_dir.lock(spec.name):  # another command must not remove a container between its creation and its start
        _remove_ended(spec.name)
        for attempt in range(1, PORT_ATTEMPTS + 1):
            concrete = ports.with_free_ports(local)
            try:
                return Container(_run(concrete), concrete)
            except ProgramFailed as error:
                if _is_name_conflict(error, spec.name):
                    raise _name_in_use(spec.name) from error
                _remove_ended(spec.name)  # a container that was created but could not start
                if concrete != local and is_port_conflict(error) and attempt < PORT_ATTEMPTS:
                    continue  # another program has just taken a port that was free
                raise docker_error("docker run", error) from error
    raise AssertionError


def _run(spec: LaunchSpec) -> str:
    """Run the container and return its id. Raises ProgramFailed."""
    output = subprocesses.run(container_spec_for(spec).run_command(), timeout_s=RUN_TIMEOUT_S).stdout
    return output.strip().splitlines()[-1]


def _is_name_conflict(error: ProgramFailed, server: str) -> bool:
    return "is already in use" in error.stderr and container_name(server) in error.stderr


def _name_in_use(server: str) -> DockerError:
    """The error for a container name that is in use: by a server of ours, of another state directory, or unrelated."""
    name = container_name(server)
    inspect = [
        "docker",
        "inspect",
        "--type",
        "container",
        "--format",
        f'{{{{index .Config.Labels "{STATE_LABEL}"}}}}',
        name,
    ]
    try:
        label = subprocesses.run(inspect).stdout.strip()
    except ProgramFailed as error:
        if is_missing(error):  # Docker reserves a name before the container exists, and after its removal
            return DockerError(
                f"another command is starting or removing the container {name}",
                hint="--name ANOTHER_NAME, or tfsctl ps",
            )
        return DockerError(f"the container name {name} is in use ({reason_of(error)})", hint="--name ANOTHER_NAME")
    owner = "" if label == "<no value>" else label
    exists, remove = f"a container named {name} already exists", f"docker rm --force {name}"
    if owner == str(state_dir.base()):
        exists, remove = f"a server named {server} is already running", f"tfsctl stop {server}"
    elif owner:
        exists += f", started with TFSCTL_STATE_DIR={owner}"
        remove = f"TFSCTL_STATE_DIR={shlex.quote(owner)} tfsctl stop {server}"
    return DockerError(exists, hint=f"--name ANOTHER_NAME; or {remove}, if it is not needed")


def _remove_ended(server: str) -> None:
    """Remove earlier containers of this server that have ended."""
    ours = ("--filter", f"label={LABEL}={server}", "--filter", f"label={STATE_LABEL}={state_dir.base()}")
    ended = docker("ps", "--all", "--quiet", *ours, "--filter", "status=exited", "--filter", "status=created")
    for container in ended.split():
        docker("rm", container)
