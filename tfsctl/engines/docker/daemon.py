"""The Docker daemon that would run a container: whether it answers, where it is, and who its root is."""

from __future__ import annotations

import ipaddress
import json
import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tfsctl.engines.docker.errors import said
from tfsctl.errors import DockerError, ProgramFailed
from tfsctl.programs import subprocesses

PODMAN_FACTS = "{{.Host.Security.Rootless}} {{.Host.ServiceIsRemote}} {{.Host.Security.SELinuxEnabled}}"
_ANSWER_S = 15.0  # a daemon behind ssh is slow


@dataclass(frozen=True, slots=True)
class Daemon:
    """What a `docker` command leads to. The defaults are those of the daemon most people have.

    `endpoint` is where it listens, `architecture` Go's name of its processor. `rootless`: its root is the user it runs
    as. `remapped`: its root is a user of its own, whom other people's files are closed to. `selinux`: it labels what a
    container may touch. `limits_memory`: a limit on memory is heeded, not dropped with a warning.
    """

    version: str = ""
    architecture: str = "amd64"
    endpoint: str = ""
    rootless: bool = False
    remapped: bool = False
    selinux: bool = False
    podman: bool = False
    remote: bool = False
    limits_memory: bool = True

    @property
    def title(self) -> str:
        """Its name and version, for people."""
        return f"{'Podman' if self.podman else 'Docker'} {self.version}"

    @property
    def container_user(self) -> str | None:
        """Who a container is to run as: we ourselves, if that is not its root, or the image's choice (None).

        A root without capabilities may not read what only its owner may, so it has to be the owner who reads.
        """
        ours = os.getuid()
        return None if self.rootless or self.remapped or self.remote or ours == 0 else f"{ours}:{os.getgid()}"


def find() -> Daemon:
    """The daemon that answers. Raises DockerError: no docker, no right to ask it, or nobody answers."""
    try:
        version = json.loads(_docker("version", "--format", "{{json .}}"))
        server = version.get("Server")
        return _podman(version["Client"]) if server is None else _engine(server)
    except ProgramFailed as error:
        raise _unusable(error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DockerError(
            f"`docker version` cannot be understood: {error}", hint="--engine embedded needs none"
        ) from error


def _engine(server: dict[str, Any]) -> Daemon:
    options = _docker("info", "--format", "{{json .SecurityOptions}} {{.MemoryLimit}}")
    endpoint = _docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
    return Daemon(
        version=server["Version"],
        architecture=server["Arch"],
        endpoint=endpoint,
        rootless="name=rootless" in options,
        remapped="name=userns" in options,
        selinux="name=selinux" in options,
        remote=is_elsewhere(endpoint),
        limits_memory=not options.endswith("false\n"),
    )


def _podman(client: dict[str, Any]) -> Daemon:
    """Podman's `docker`, which usually has no daemon at all."""
    rootless, remote, selinux = _docker("info", "--format", PODMAN_FACTS).split()
    return Daemon(
        version=client["Version"],
        architecture=client["OsArch"].rpartition("/")[2],
        rootless=rootless == "true",
        remote=remote == "true",
        selinux=selinux == "true",
        podman=True,
    )


def is_elsewhere(endpoint: str) -> bool:
    """Whether a daemon that listens there is on another machine, as far as its address tells."""
    address = urlsplit(endpoint)
    if address.scheme in ("", "unix", "npipe", "fd"):
        return False
    host = address.hostname or ""
    try:
        return address.scheme == "ssh" or not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def _docker(*arguments: str) -> str:
    return subprocesses.run(["docker", *arguments], timeout_s=_ANSWER_S).stdout


def _unusable(error: ProgramFailed) -> DockerError:
    if error.returncode == subprocesses.NOT_FOUND:
        return DockerError(
            "docker is not installed: there is no `docker` on PATH", hint="install Docker, or use --engine embedded"
        )
    if "permission denied" in error.stderr.lower():
        return DockerError(
            f"the Docker daemon is closed to this user: {said(error)}",
            hint="sudo usermod --append --groups docker $USER, then log in again; or use --engine embedded",
        )
    leads_there = next((name for name in ("DOCKER_HOST", "DOCKER_CONTEXT") if os.environ.get(name)), None)
    start = (
        f"start it, or unset {leads_there}" if leads_there else "start it (for example `sudo systemctl start docker`)"
    )
    return DockerError(f"the Docker daemon does not answer: {said(error)}", hint=f"{start}; or use --engine embedded")
