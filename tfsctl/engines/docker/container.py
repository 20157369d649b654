"""A container that runs a model server: its ports, log, state and end."""

from __future__ import annotations

from tfsctl.engines.docker import inspection
from tfsctl.engines.docker.container_spec import HOST_NETWORK
from tfsctl.engines.docker.docker_errors import docker_error, is_missing, reason_of
from tfsctl.engines.docker.inspection import ContainerFacts
from tfsctl.engines.engine import LOG_TAIL_LINES
from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.errors import DockerError, ProgramFailed
from tfsctl.programs import subprocesses
from tfsctl.programs.log_followers import ProgramFollower, ShowLine

STOP_S = 35  # an image may hold the embedded server, which answers running requests for up to 30 s


def stop(container: str) -> None:
    """Stop and remove a container. Does nothing if it is gone. Raises DockerError."""
    docker("stop", "-t", str(STOP_S), container)
    docker("rm", "--force", "--volumes", container)


class Container:
    """A model server in a container."""

    pid = None
    log_path = None  # Docker keeps the log

    def __init__(self, container: str, spec: LaunchSpec) -> None:
        """Watch a container that was started with concrete ports."""
        self.container, self._name = container, spec.name
        is_on_host = spec.container.network == HOST_NETWORK
        self.bind_address = "0.0.0.0" if is_on_host else spec.host  # noqa: S104 - what the server does there
        self.rest_port, self.grpc_port = spec.config.rest_port, spec.config.grpc_port
        self._follower: ProgramFollower | None = None
        # This program ends when the container does. Polling it is cheap, unlike running `docker inspect`.
        self._watcher = subprocesses.Child(["docker", "wait", container])

    def exit_status(self) -> int | None:
        """The exit status of its program, or None while it runs; 0 if the container was removed.

        Raises DockerError if the daemon does not answer any more.
        """
        if self._watcher.exit_status() is None:
            return None
        facts = self._facts()
        return 0 if facts is None else facts.exit_status

    def exit_reason(self) -> str:
        """Why it ended, if Docker knows; otherwise an empty string."""
        facts = self._facts()
        return "" if facts is None else facts.exit_reason

    def _facts(self) -> ContainerFacts | None:
        """Its facts from Docker; None if it was removed. Raises DockerError if the daemon does not answer."""
        found = inspection.inspect([self.container])
        if found is None:
            raise DockerError(
                f"the Docker daemon no longer responds; {self._name} may still be running",
                hint="start the daemon, then check with: tfsctl ps",
            )
        return found.get(self.container)

    def log_tail(self) -> list[str]:
        """The last lines of its log."""
        try:
            log = subprocesses.run(["docker", "logs", "--tail", str(LOG_TAIL_LINES), self.container])
        except ProgramFailed as error:
            gone = is_missing(error)
            return ["(Docker removed the container, and its status and log with it)"] if gone else [reason_of(error)]
        return [*log.stdout.splitlines(), *log.stderr.splitlines()]

    def follow(self, show: ShowLine) -> None:
        """Pass each line of its log to `show`, from the first line on."""
        self._follower = ProgramFollower(["docker", "logs", "--follow", self.container], show)

    def stop(self) -> None:
        """Stop and remove it."""
        docker("stop", "-t", str(STOP_S), self.container)
        if self._follower is not None:
            self._follower.stop()  # before the container is removed with its log
        docker("rm", "--force", "--volumes", self.container)
        self._watcher.stop()

    def detach(self) -> None:
        """Stop watching it."""
        self._watcher.stop()


def docker(*arguments: str) -> str:
    """Run docker and return its output. An object that does not exist is not an error. Raises DockerError."""
    try:
        return subprocesses.run(["docker", *arguments]).stdout.strip()
    except ProgramFailed as error:
        if is_missing(error) or "is already in progress" in error.stderr:  # another command removes it
            return ""
        raise docker_error(f"docker {arguments[0]}", error) from error
