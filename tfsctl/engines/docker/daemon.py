"""Find the Docker (or Podman) daemon and its properties."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tfsctl.engines.docker.docker_errors import reason_of
from tfsctl.errors import DockerError, ProgramFailed
from tfsctl.programs import subprocesses

PODMAN_FACTS = "{{.Host.Security.Rootless}} {{.Host.ServiceIsRemote}} {{.Host.Security.SELinuxEnabled}}"
START_PROBES_API = (1, 44)  # Docker 25
_TIMEOUT_S = 15.0  # a daemon behind ssh is slow


@dataclass(frozen=True, slots=True)
class Daemon:
    """The daemon behind the `docker` command. The defaults describe an ordinary Docker Engine.

    - `architecture`: Go's name of its processor; `endpoint`: the address where it listens
    - `rootless`: root in a container is the user who runs the daemon
    - `remapped`: root in a container is another user of the host, who may not read other users' files
    - `selinux`: SELinux labels restrict which files a container can read
    - `start_probes`: the client and the daemon know `--health-start-interval`
    - `limits_memory`: memory limits work (otherwise Docker ignores them with a warning)
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
    start_probes: bool = False

    @property
    def title(self) -> str:
        """Its name and version."""
        return f"{'Podman' if self.podman else 'Docker'} {self.version}"

    @property
    def container_user(self) -> str | None:
        """The user that a container should run as: ours, or None for the image's user.

        Root without capabilities cannot read files that only their owner may read.
        """
        uid = os.getuid()
        return None if self.rootless or self.remapped or self.remote or uid == 0 else f"{uid}:{os.getgid()}"


def find() -> Daemon:
    """The daemon that answers. Raises DockerError: docker is not installed, access is denied, or no daemon answers."""
    try:
        version = json.loads(_docker("version", "--format", "{{json .}}"))
        server = version.get("Server")
        return _podman(version["Client"]) if server is None else _engine(version["Client"], server)
    except ProgramFailed as error:
        raise _unusable(error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DockerError(
            f"cannot parse the output of `docker version`: {error}", hint="use --engine embedded, which needs no Docker"
        ) from error


def _engine(client: dict[str, Any], server: dict[str, Any]) -> Daemon:
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
        start_probes=_api_version(client) >= START_PROBES_API,
    )


def _api_version(client: dict[str, Any]) -> tuple[int, ...]:
    """The version of the API that client and daemon have agreed on; (0,) if it is not known."""
    return tuple(int(part) for part in re.findall(r"\d+", str(client.get("ApiVersion", "0"))))


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
    return subprocesses.run(["docker", *arguments], timeout_s=_TIMEOUT_S).stdout


def _unusable(error: ProgramFailed) -> DockerError:
    if error.returncode == subprocesses.NOT_FOUND:
        return DockerError(
            "docker is not installed: there is no `docker` on PATH", hint="install Docker, or use --engine embedded"
        )
    if "permission denied" in error.stderr.lower():
        return DockerError(
            f"this user has no access to the Docker daemon: {reason_of(error)}",
            hint="sudo usermod --append --groups docker $USER, then log in again; or use --engine embedded",
        )
    leads_there = next((name for name in ("DOCKER_HOST", "DOCKER_CONTEXT") if os.environ.get(name)), None)
    start = (
        f"start it, or unset {leads_there}" if leads_there else "start it (for example `sudo systemctl start docker`)"
    )
    return DockerError(
        f"the Docker daemon does not respond: {reason_of(error)}", hint=f"{start}; or use --engine embedded"
    )
