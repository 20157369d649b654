"""A container that runs a model server: its ports, log, state and end."""

from __future__ import annotations

import json

from tfsctl.engines.docker.container_spec import GRPC_PORT, REST_PORT
from tfsctl.engines.docker.docker_errors import docker_error, reason_of
from tfsctl.engines.engine import LOG_TAIL_LINES
from tfsctl.engines.exit_reasons import REASONS
from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.errors import DockerError, ProgramFailed
from tfsctl.programs import subprocesses
from tfsctl.programs.log_followers import ProgramFollower, ShowLine

STOP_S = 35  # an image may hold the embedded server, which answers running requests for up to 30 s
_INSPECT_PORTS = "{{json .NetworkSettings.Ports}} {{.State.Running}} {{.HostConfig.NetworkMode}}"
# Exit status of a program that was ended by a signal -> the likely cause.
_EXIT_REASONS = {128 + number: reason for number, reason in REASONS.items()}
_EXIT_REASONS[137] += "; --memory is how much it may take"


def status(container: str) -> str | None:
    """Docker's word for the state of a container (`running`, `exited`, …), `gone`, or None if docker fails."""
    try:
        word = subprocesses.run(["docker", "inspect", "--format", "{{.State.Status}}", container], timeout_s=15).stdout
    except ProgramFailed as error:
        return "gone" if "no such" in error.stderr.lower() else None
    return word.strip()


def stop(container: str) -> None:
    """Stop and remove a container. Does nothing if it is gone. Raises DockerError."""
    docker("stop", "-t", str(STOP_S), container)
    docker("rm", "--force", "--volumes", container)


class Container:
    """A model server in a container."""

    pid = None
    log_path = None  # Docker keeps the log

    def __init__(self, container: str, spec: LaunchSpec) -> None:
        """Watch a container that was started."""
        self.container: str | None = container
        self._id = container
        self.rest_port, self.grpc_port = self._published(spec)
        self._follower: ProgramFollower | None = None
        # This program ends when the container does. Polling it is cheap, unlike running `docker inspect`.
        self._watcher = subprocesses.Child(["docker", "wait", container])

    def _published(self, spec: LaunchSpec) -> tuple[int, int]:
        facts = docker("inspect", "--format", _INSPECT_PORTS, self._id) or "null false gone"
        ports, running, network = facts.rsplit(" ", 2)
        if network == "host":
            return REST_PORT, GRPC_PORT  # Docker publishes no ports on the network of the host
        bound = [(json.loads(ports) or {}).get(f"{port}/tcp") or [{}] for port in (REST_PORT, GRPC_PORT)]
        rest, grpc = (int(published[0].get("HostPort") or 0) for published in bound)
        if rest and grpc:
            return rest, grpc
        if running == "true":
            raise DockerError(
                f"nobody can ask this container: to its network, {network}, Docker publishes no ports",
                hint="leave out the --docker-arg that says --network, or name one of `docker network ls` with DRIVER bridge",
            )
        return spec.config.rest_port, spec.config.grpc_port  # it has already ended

    def exit_status(self) -> int | None:
        """The exit status of its program, or None while it runs; 0 if the container was removed."""
        if self._watcher.exit_status() is None:
            return None
        return int(docker("inspect", "--format", "{{.State.ExitCode}}", self._id) or 0)

    def exit_reason(self) -> str:
        """Why it ended, if Docker knows; otherwise an empty string."""
        killed = docker("inspect", "--format", "{{.State.OOMKilled}}", self._id) == "true"
        return _EXIT_REASONS.get(137 if killed else self.exit_status() or 0, "")

    def log_tail(self) -> list[str]:
        """The last lines of its log."""
        try:
            log = subprocesses.run(["docker", "logs", "--tail", str(LOG_TAIL_LINES), self._id])
        except ProgramFailed as error:
            gone = "no such container" in error.stderr.lower()
            return ["(Docker removed the container, and its status and log with it)"] if gone else [reason_of(error)]
        return [*log.stdout.splitlines(), *log.stderr.splitlines()]

    def follow(self, show: ShowLine) -> None:
        """Pass each line of its log to `show`, from the first line on."""
        self._follower = ProgramFollower(["docker", "logs", "--follow", self._id], show)

    def stop(self) -> None:
        """Stop and remove it."""
        docker("stop", "-t", str(STOP_S), self._id)
        if self._follower is not None:
            self._follower.stop()  # before the container is removed with its log
        docker("rm", "--force", "--volumes", self._id)
        self._watcher.stop()

    def detach(self) -> None:
        """Stop watching it."""
        self._watcher.stop()


def docker(*arguments: str) -> str:
    """Run docker and return its output. An object that does not exist is not an error. Raises DockerError."""
    try:
        return subprocesses.run(["docker", *arguments]).stdout.strip()
    except ProgramFailed as error:
        if "no such" in error.stderr.lower() or "is already in progress" in error.stderr:  # another command removes it
            return ""
        raise docker_error(f"docker {arguments[0]}", error) from error
