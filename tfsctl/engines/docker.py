"""The docker engine: TensorFlow Serving in a container, run with the `docker` command."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tfsctl.engines import _programs
from tfsctl.engines.container import GRPC_PORT, LABEL, REST_PORT, container_name, container_of
from tfsctl.engines.launch import LAST_LINES, Launch
from tfsctl.errors import DockerError, ProgramFailed


def check() -> str:
    """The daemon's version. Raises DockerError when there is no docker, or no daemon that answers."""
    try:
        version = _programs.run(["docker", "version", "--format", "{{.Server.Version}}"], timeout_s=15).stdout.strip()
    except ProgramFailed as error:
        if error.returncode == _programs.NOT_FOUND:
            raise DockerError(
                "docker is not installed: there is no `docker` on PATH",
                hint="install Docker, or use --engine embedded",
            ) from error
        raise DockerError(
            f"the Docker daemon does not answer: {_said(error)}",
            hint="start it (for example `sudo systemctl start docker`), or use --engine embedded",
        ) from error
    return f"Docker {version}"


def command(launch: Launch) -> list[str]:
    """The `docker run` that starts it."""
    return container_of(launch).run_command()


def start(launch: Launch, *, detach: bool) -> Container:
    """Start the container, with the image pulled first if it is not here. Raises DockerError."""
    _pull_if_missing(launch.container.image)
    _remove_ended(launch.name)
    name = container_name(launch.name)
    try:
        container = _programs.run(command(launch)).stdout.strip()
    except ProgramFailed as error:
        if "is already in use by container" in error.stderr:
            raise DockerError(f"a container named {name} exists already", hint=f"docker rm --force {name}") from error
        _docker("rm", "--force", name)  # one that was made but could not start
        raise DockerError(f"docker run failed: {_said(error)}") from error
    return Container(container, launch, follow_log=not detach)


def status(container: str) -> str | None:
    """Docker's word for where a container is: `running`, `exited`, …; `gone`, or None when docker cannot be asked."""
    try:
        said = _programs.run(["docker", "inspect", "--format", "{{.State.Status}}", container], timeout_s=15).stdout
    except ProgramFailed as error:
        return "gone" if "no such" in error.stderr.lower() else None
    return said.strip()


def stop(container: str) -> None:
    """Stop and remove a container we started; nothing happens if it is gone. Raises DockerError."""
    _docker("stop", container)
    _docker("rm", "--force", "--volumes", container)


class Container:
    """A model server in a container."""

    pid = None
    log_path = None  # Docker keeps it

    def __init__(self, container: str, launch: Launch, *, follow_log: bool) -> None:
        """Watch a container that was started, and with `follow_log` copy its log to our stderr."""
        self.container: str | None = container
        self._id = container
        self.rest_port, self.grpc_port = self._published(launch)
        self._follower = _programs.Child(["docker", "logs", "--follow", container]) if follow_log else None
        # Ends with the container, and costs nothing to look at, which `docker inspect` many times a second does.
        self._watcher = _programs.Child(["docker", "wait", container], log_path=Path(os.devnull))

    def _published(self, launch: Launch) -> tuple[int, int]:
        config = launch.config
        if config.rest_port and config.grpc_port:
            return config.rest_port, config.grpc_port
        published = json.loads(_docker("inspect", "--format", "{{json .NetworkSettings.Ports}}", self._id))
        # A container that ended at once publishes nothing any more; `ended` tells.
        rest, grpc = (published.get(f"{port}/tcp") or [{"HostPort": "0"}] for port in (REST_PORT, GRPC_PORT))
        return int(rest[0]["HostPort"]), int(grpc[0]["HostPort"])

    def ended(self) -> int | None:
        """The status of its program, or None while it runs."""
        if self._watcher.ended() is None:
            return None
        return int(_docker("inspect", "--format", "{{.State.ExitCode}}", self._id) or 0)

    def last_lines(self) -> list[str]:
        """The end of its log; nothing if that was followed on our stderr."""
        if self._follower is not None:
            return []
        try:
            said = _programs.run(["docker", "logs", "--tail", str(LAST_LINES), self._id])
        except ProgramFailed as error:
            return [_said(error)]
        return [*said.stdout.splitlines(), *said.stderr.splitlines()]

    def stop(self) -> None:
        """Stop and remove it."""
        stop(self._id)
        self.leave_running()

    def leave_running(self) -> None:
        """Watch it no longer."""
        self._watcher.stop()
        if self._follower is not None:
            self._follower.stop()


def _docker(*arguments: str) -> str:
    """Run docker and return what it printed; what is already gone is no failure. Raises DockerError."""
    try:
        return _programs.run(["docker", *arguments]).stdout.strip()
    except ProgramFailed as error:
        if "no such" in error.stderr.lower():
            return ""
        raise DockerError(f"docker {arguments[0]} failed: {_said(error)}") from error


def _said(error: ProgramFailed) -> str:
    """The line of docker's own words that tells most."""
    lines = [line.strip() for line in error.stderr.splitlines() if line.strip() and not line.startswith("See 'docker")]
    said = next(
        (line for line in lines if "rror" in line or "annot" in line),
        lines[-1] if lines else f"status {error.returncode}",
    )
    return said.removeprefix("docker: ").removeprefix("Error response from daemon: ").rstrip(".")


def _pull_if_missing(image: str) -> None:
    if _docker("image", "inspect", "--format", "{{.Id}}", image):
        return
    try:
        _programs.run_aloud(["docker", "pull", image])
    except ProgramFailed as error:
        raise DockerError(f"cannot pull {image}", hint="--image names another; --engine embedded needs none") from error


def _remove_ended(server: str) -> None:
    """Remove what is left of an earlier container of this server that ended by itself."""
    ended = _docker(
        "ps",
        "--all",
        "--quiet",
        "--filter",
        f"label={LABEL}={server}",
        "--filter",
        "status=exited",
        "--filter",
        "status=created",
    )
    for container in ended.split():
        _docker("rm", container)
