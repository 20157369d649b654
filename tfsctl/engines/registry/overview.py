"""What every server of ours is doing now: its models' versions, asked of itself, and what it takes of the machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tfsctl.core.types import ModelRef, VersionStatus
from tfsctl.engines.registry import fleet, usage
from tfsctl.engines.registry.records import RUNNING, RunningServer
from tfsctl.engines.registry.usage import Usage
from tfsctl.errors import TfsctlError

ASK_TIMEOUT_S = 2.0
Models = Mapping[str, "tuple[VersionStatus, ...] | str"]


@dataclass(frozen=True, slots=True)
class Report:
    """One server. `models` has each model's versions, or in words why it did not tell them.

    For a container that does not run `models` is empty and `uptime_s` is None; `usage` is None where it is not known.
    """

    server: RunningServer
    state: str
    models: Models
    uptime_s: float | None
    usage: Usage | None


def reports() -> list[Report]:
    """A report on every server, all asked at once."""
    found = fleet.servers()
    servers = [each.server for each in found if each.state == RUNNING]
    with ThreadPoolExecutor(max_workers=32) as threads:
        in_containers = threads.submit(usage.of_containers, [s.container for s in servers if s.container is not None])
        in_processes = threads.submit(usage.of_processes, [s.pid for s in servers if s.pid is not None])
        told = dict(zip(servers, threads.map(_models, servers), strict=True))
    by_container, by_pid = in_containers.result(), in_processes.result()
    return [
        Report(
            server,
            state,
            models=told.get(server, {}),
            uptime_s=max(0.0, time.time() - server.started_at) if state == RUNNING else None,
            usage=by_container.get(server.container or "") or by_pid.get(server.pid or 0),
        )
        for server, state, _ in found
    ]


def _models(server: RunningServer) -> Models:
    """Each model's versions, or why it did not tell them."""
    from tfsctl.clients.rest import RestClient

    told: dict[str, tuple[VersionStatus, ...] | str] = {}
    with RestClient(server.host, server.rest_port, timeout_s=ASK_TIMEOUT_S) as client:
        for name in server.models:
            try:
                told[name] = client.status(ModelRef(name))
            except TfsctlError as error:  # it may be loading, or be ending
                told[name] = error.message
    return told
