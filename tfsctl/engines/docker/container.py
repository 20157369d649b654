"""A container we started: where it is, what it says, and how it ends."""

from __future__ import annotations

import json

from tfsctl.engines.docker.container_spec import GRPC_PORT, REST_PORT
from tfsctl.engines.docker.errors import refused, said
from tfsctl.engines.planning.launch_spec import LAST_LINES, Launch
from tfsctl.errors import DockerError, ProgramFailed
from tfsctl.programs import subprocesses
from tfsctl.programs.log_follower import FollowedProgram, Show

STOP_S = 35  # the embedded server in an image answers running requests for 30 s at most
_PUBLISHED = "{{json .NetworkSettings.Ports}} {{.State.Running}} {{.HostConfig.NetworkMode}}"
# Statuses of a program that a signal ended, and what that tells.
_CAUSES = {
    132: "it was made for another processor: an illegal instruction ended it",
    137: "it was killed, as is done when memory runs out; --memory is how much it may take",
    139: "it crashed: a segmentation fault ended it",
}


def status(container: str) -> str | None:
    """Docker's word for where a container is: `running`, `exited`, …; `gone`, or None when docker cannot be asked."""
    try:
        word = subprocesses.run(["docker", "inspect", "--format", "{{.State.Status}}", container], timeout_s=15).stdout
    except ProgramFailed as error:
        return "gone" if "no such" in error.stderr.lower() else None
    return word.strip()


def stop(container: str) -> None:
    """Stop and remove a container we started; nothing happens if it is gone. Raises DockerError."""
    docker("stop", "-t", str(STOP_S), container)
    docker("rm", "--force", "--volumes", container)


class Container:
    """A model server in a container."""

    pid = None
    log_path = None  # Docker keeps it

    def __init__(self, container: str, launch: Launch) -> None:
        """Watch a container that was started."""
        self.container: str | None = container
        self._id = container
        self.rest_port, self.grpc_port = self._published(launch)
        self._follower: FollowedProgram | None = None
        # Ends with the container, and costs nothing to look at, which `docker inspect` many times a second does.
        self._watcher = subprocesses.Child(["docker", "wait", container])

    def _published(self, launch: Launch) -> tuple[int, int]:
        facts = docker("inspect", "--format", _PUBLISHED, self._id) or "null false gone"
        ports, running, network = facts.rsplit(" ", 2)
        if network == "host":
            return REST_PORT, GRPC_PORT  # there are no others: Docker publishes nothing then
        bound = [(json.loads(ports) or {}).get(f"{port}/tcp") or [{}] for port in (REST_PORT, GRPC_PORT)]
        rest, grpc = (int(published[0].get("HostPort") or 0) for published in bound)
        if rest and grpc:
            return rest, grpc
        if running == "true":
            raise DockerError(
                f"nobody can ask this container: to its network, {network}, Docker publishes no ports",
                hint="leave out the --docker-arg that says --network, or name one of `docker network ls` with DRIVER bridge",
            )
        return launch.config.rest_port, launch.config.grpc_port  # one that ended at once publishes nothing any more

    def ended(self) -> int | None:
        """The status of its program, or None while it runs; 0 if it was removed since, and nobody can tell."""
        if self._watcher.ended() is None:
            return None
        return int(docker("inspect", "--format", "{{.State.ExitCode}}", self._id) or 0)

    def cause(self) -> str:
        """Why it ended, where Docker knows better than its log; else nothing."""
        killed = docker("inspect", "--format", "{{.State.OOMKilled}}", self._id) == "true"
        return _CAUSES.get(137 if killed else self.ended() or 0, "")

    def last_lines(self) -> list[str]:
        """The end of its log, as far as it is looked at."""
        try:
            log = subprocesses.run(["docker", "logs", "--tail", str(LAST_LINES), self._id])
        except ProgramFailed as error:
            gone = "no such container" in error.stderr.lower()
            return ["(Docker removed the container, and its status and log with it)"] if gone else [said(error)]
        return [*log.stdout.splitlines(), *log.stderr.splitlines()]

    def follow(self, show: Show) -> None:
        """Show its log from now on, and what it said before."""
        self._follower = FollowedProgram(["docker", "logs", "--follow", self._id], show)

    def stop(self) -> None:
        """Stop and remove it."""
        docker("stop", "-t", str(STOP_S), self._id)
        if self._follower is not None:
            self._follower.stop()  # before its log goes with it
        docker("rm", "--force", "--volumes", self._id)
        self._watcher.stop()

    def leave_running(self) -> None:
        """Watch it no longer."""
        self._watcher.stop()


def docker(*arguments: str) -> str:
    """Run docker and return what it printed; what is already gone is no failure. Raises DockerError."""
    try:
        return subprocesses.run(["docker", *arguments]).stdout.strip()
    except ProgramFailed as error:
        if "no such" in error.stderr.lower() or "is already in progress" in error.stderr:  # by another command
            return ""
        raise refused(f"docker {arguments[0]}", error) from error
