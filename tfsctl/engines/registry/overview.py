"""The status of every server: the state of its models' versions, and its use of CPU and memory."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tfsctl.engines.registry import fleet
from tfsctl.engines.registry.tracked_server import ENDED, RUNNING, TrackedServer
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import TfsctlError

if TYPE_CHECKING:
    from tfsctl.core.types import VersionStatus
    from tfsctl.engines.docker.inspection import ContainerFacts
    from tfsctl.engines.registry.usage import Usage
    from tfsctl.programs.exit_records import ExitRecord

STATUS_TIMEOUT_S = 2.0
LOADING_STATES = ("START", "LOADING")
ModelStates = Mapping[str, "tuple[VersionStatus, ...] | str"]


@dataclass(frozen=True, slots=True)
class ServerReport:
    """One server.

    - `models`: for each model the states of its versions, or the error of asking for them
    - `uptime_s`: None if it does not run; `models` is empty then
    - `usage`: None if it is not known
    - `exit`: how it ended, if that is known
    - `cause`: why it ended, if that is known; otherwise empty
    - `is_front`: whether it is a front, with other servers behind it
    - `load_failures`: by model and version, why a version that is LOADING could not be loaded before
    - `facts`: what Docker knows of its container; None for a process
    """

    server: ServerRecord
    state: str
    models: ModelStates
    uptime_s: float | None
    usage: Usage | None
    exit: ExitRecord | None = None
    cause: str = ""
    facts: ContainerFacts | None = None
    load_failures: Mapping[tuple[str, int], str] = field(default_factory=dict)
    is_front: bool = False


def reports(*, with_ended: bool = False) -> list[ServerReport]:
    """A report on every server. All servers are asked at the same time.

    Servers of which only the record is left are skipped unless `with_ended`.
    """
    found = [server for server in fleet.servers() if with_ended or not server.is_left_over]
    return _reports(found) if found else []


def _reports(found: Sequence[TrackedServer]) -> list[ServerReport]:
    from tfsctl.engines.registry import server_log, usage  # not needed to find that there are no servers

    running = [server.record for server in found if server.state == RUNNING]
    with ThreadPoolExecutor(max_workers=32) as threads:
        pids = {server.facts.id: server.facts.pid for server in found if server.facts and server.state == RUNNING}
        containers = threads.submit(usage.container_usage, pids)
        processes = threads.submit(usage.process_usage, [s.pid for s in running if s.pid is not None])
        states = dict(zip(running, threads.map(_model_states, running), strict=True))
        loading = [server for server in found if _is_loading(states.get(server.record, {}))]
        failures = dict(zip(map(id, loading), threads.map(server_log.recent_load_failures, loading), strict=True))
    by_container, by_pid = containers.result(), processes.result()
    return [
        ServerReport(
            server.record,
            server.state,
            models=states.get(server.record, {}),
            uptime_s=max(0.0, time.time() - server.record.started_at) if server.state == RUNNING else None,
            usage=by_container.get(server.record.container or "") or by_pid.get(server.record.pid or 0),
            exit=server.exit,
            cause=server_log.exit_cause(server) if server.exit or server.state == ENDED else "",
            facts=server.facts,
            load_failures=failures.get(id(server), {}),
            is_front=server.is_front,
        )
        for server in found
    ]


def _is_loading(models: ModelStates) -> bool:
    """Whether a version of a model is not loaded yet."""
    versions = [version for states in models.values() if not isinstance(states, str) for version in states]
    return any(version.state in LOADING_STATES for version in versions)


def _model_states(server: ServerRecord) -> ModelStates:
    from tfsctl.clients.rest import RestClient
    from tfsctl.core.types import ModelRef

    states: dict[str, tuple[VersionStatus, ...] | str] = {}
    with RestClient(server.host, server.rest_port, timeout_s=STATUS_TIMEOUT_S) as client:
        for name in server.models:
            try:
                states[name] = client.status(ModelRef(name))
            except TfsctlError as error:  # the model may be loading, or the server may be stopping
                states[name] = error.message
    return states
