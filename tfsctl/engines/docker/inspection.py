"""Facts from Docker about our containers: state, addresses, health and limits, read with `docker inspect`.

Docker can restart, stop and remove a container without tfsctl, so these facts are read whenever they are needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from tfsctl.engines.docker.container_spec import GRPC_PORT, HOST_NETWORK, REST_PORT
from tfsctl.engines.docker.docker_errors import is_missing
from tfsctl.engines.docker.labels import CERTIFICATE_LABEL, CLIENT_CA_LABEL, FRONT_LABEL, LABEL, MODELS_LABEL
from tfsctl.engines.exit_reasons import REASONS
from tfsctl.errors import ProgramFailed
from tfsctl.programs import subprocesses

RUNNING, EXITED = "running", "exited"
TIMEOUT_S = 15.0
# Exit status of a program that was ended by a signal -> the likely cause.
_EXIT_REASONS = {128 + number: reason for number, reason in REASONS.items()}
_EXIT_REASONS[137] += "; --memory sets its limit"


@dataclass(frozen=True, slots=True)
class ContainerLimits:
    """The resource limits of a container; None where it has no limit."""

    cpus: float | None = None
    memory_bytes: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """One container of ours.

    - `status`: Docker's word for its state, such as `running` or `exited`
    - `bind_address`, `rest_port`, `grpc_port`: where it is published; empty and 0 if Docker publishes no ports
    - `started_at`: Unix time of the last start, or of the creation if it never started; `ended_at`: None while it runs
    - `health`: `starting`, `healthy` or `unhealthy`; None without a health check
    - `pid`: the process on the daemon's machine; 0 if it does not run
    - `restart`: the name of the restart policy
    - `certificate`, `client_ca`: the files of gRPC over TLS
    - `front`: the name of the front that the container is behind; empty if there is none
    """

    id: str
    server: str
    models: tuple[str, ...]
    status: str
    exit_status: int
    out_of_memory: bool
    started_at: float
    ended_at: float | None
    pid: int
    bind_address: str
    rest_port: int
    grpc_port: int
    image: str
    health: str | None
    restart: str
    limits: ContainerLimits
    certificate: str | None
    client_ca: str | None
    front: str = ""

    @property
    def state(self) -> str:
        """The status, and the exit status of a container that has exited: `exited (137)`."""
        return f"{self.status} ({self.exit_status})" if self.status == EXITED else self.status

    @property
    def exit_reason(self) -> str:
        """Why it ended, if Docker knows; otherwise an empty string."""
        return _EXIT_REASONS.get(137 if self.out_of_memory else self.exit_status, "")


def inspect(containers: Sequence[str]) -> dict[str, ContainerFacts] | None:
    """The facts of each container by its id. Removed containers are skipped. None if Docker does not answer."""
    if not containers:
        return {}
    try:
        argv = ["docker", "inspect", "--type", "container", *containers]
        output = subprocesses.run(argv, timeout_s=TIMEOUT_S).stdout
    except ProgramFailed as error:
        if not is_missing(error):
            return None
        output = error.stdout if error.stdout.startswith("[") else "[]"  # those that were found
    return {found["Id"]: _facts(found) for found in json.loads(output)}


def _facts(found: Mapping[str, Any]) -> ContainerFacts:
    """The facts in the JSON of `docker inspect`."""
    state, host, config = found["State"], found["HostConfig"], found["Config"]
    labels: Mapping[str, str] = config["Labels"] or {}
    if host.get("NetworkMode") == HOST_NETWORK:
        bind_address = "0.0.0.0"  # noqa: S104 - what the server does there
        rest_port, grpc_port = _flag(config, "--rest_api_port"), _flag(config, "--port")
    else:
        (bind_address, rest_port), (_, grpc_port) = _published(found, REST_PORT), _published(found, GRPC_PORT)
    has_run = state["Status"] != "created"
    return ContainerFacts(
        id=found["Id"],
        server=labels.get(LABEL, ""),
        models=tuple(map(unquote, labels.get(MODELS_LABEL, "").split(","))),
        status=state["Status"],
        exit_status=int(state["ExitCode"]),
        out_of_memory=bool(state.get("OOMKilled")),
        started_at=unix_time(state["StartedAt"] if has_run else found["Created"]),
        ended_at=unix_time(state["FinishedAt"]) if has_run and state["Status"] != RUNNING else None,
        pid=int(state.get("Pid") or 0),
        bind_address=bind_address,
        rest_port=rest_port,
        grpc_port=grpc_port,
        image=config["Image"],
        health=_health(state),
        restart=(host.get("RestartPolicy") or {}).get("Name") or "no",
        limits=_limits(host),
        certificate=labels.get(CERTIFICATE_LABEL),
        client_ca=labels.get(CLIENT_CA_LABEL),
        front=labels.get(FRONT_LABEL, ""),
    )


def _published(found: Mapping[str, Any], port: int) -> tuple[str, int]:
    """The host's address and port for a port of the container; ("", 0) if it is not published."""
    key = f"{port}/tcp"
    running = (found["NetworkSettings"].get("Ports") or {}).get(key)
    bound = running or (found["HostConfig"].get("PortBindings") or {}).get(key)
    first = (bound or [{}])[0]
    return first.get("HostIp") or "", int(first.get("HostPort") or 0)


def _flag(config: Mapping[str, Any], name: str) -> int:
    """The number in a flag of the server's command line; 0 if it has no such flag."""
    values = [word.partition("=")[2] for word in config.get("Cmd") or [] if word.startswith(f"{name}=")]
    return int(values[-1]) if values and values[-1].isdecimal() else 0


def _health(state: Mapping[str, Any]) -> str | None:
    health = (state.get("Health") or state.get("Healthcheck") or {}).get("Status")  # Podman: Healthcheck
    return health if health not in ("", "none") else None


def _limits(host: Mapping[str, Any]) -> ContainerLimits:
    cpus = (host.get("NanoCpus") or 0) / 1e9
    if not cpus and host.get("CpuQuota") and host.get("CpuPeriod"):
        cpus = host["CpuQuota"] / host["CpuPeriod"]
    pids = host.get("PidsLimit") or 0
    return ContainerLimits(cpus or None, host.get("Memory") or None, pids if pids > 0 else None)


def unix_time(text: str) -> float:
    """Docker's time, such as `2026-11-24T00:57:31.695217551Z`, as Unix time; 0 for "never" (the year 1)."""
    digits = re.search(r"\.(\d+)", text)
    whole = re.sub(r"\.\d+", "", text).replace("Z", "+00:00")  # Docker has more digits than Python reads
    return max(0.0, datetime.fromisoformat(whole).timestamp() + (float(f"0.{digits[1]}") if digits else 0.0))
