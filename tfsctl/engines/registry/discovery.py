"""Find servers without their records: processes by an environment variable, containers by their labels.

Only servers of this state directory are found: those of another one are not ours to list or stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfsctl.engines import state_dir
from tfsctl.engines.docker.labels import LABEL, STATE_LABEL
from tfsctl.engines.process import discovery_variable
from tfsctl.engines.registry.records import exit_of
from tfsctl.engines.registry.tracked_server import TrackedServer
from tfsctl.engines.server_record import ServerRecord, reachable_host
from tfsctl.errors import ProgramFailed
from tfsctl.programs import subprocesses
from tfsctl.programs.processes import session_leaders_with

if TYPE_CHECKING:
    from tfsctl.engines.docker.inspection import ContainerFacts

VERSION_CHECK = "TFSCTL_VERSION_CHECK"  # set by the embedded server for the process that checks a new version


def processes() -> list[TrackedServer]:
    """Every server process. A server leads its session; processes that it started inherit the variable but do not."""
    found: list[TrackedServer] = []
    for pid, environment in session_leaders_with(discovery_variable.VARIABLE):
        value = environment[discovery_variable.VARIABLE]
        parsed = None if VERSION_CHECK in environment else discovery_variable.parse(value, pid=pid)
        if parsed is not None:
            record, launch = parsed
            found.append(TrackedServer(record, launch=launch))
    return found


def container_ids() -> list[str]:
    """The ids of all containers of ours, including those that have ended or never started.

    Empty if Docker does not answer.
    """
    labels = ("--filter", f"label={LABEL}", "--filter", f"label={STATE_LABEL}={state_dir.base()}")
    try:
        return subprocesses.run(
            ["docker", "ps", "--all", "--quiet", "--no-trunc", *labels], timeout_s=10
        ).stdout.split()
    except ProgramFailed:
        return []


def containers(ids: Sequence[str]) -> list[TrackedServer]:
    """The containers of these ids, except those behind a front, which belong to that server.

    Empty if Docker does not answer.
    """
    if not ids:
        return []
    from tfsctl.engines.docker import inspection  # most servers are processes, which do not need it

    found = inspection.inspect(ids) or {}
    return [_tracked(facts) for facts in found.values() if not _is_behind_front(facts)]


def _is_behind_front(facts: ContainerFacts) -> bool:
    return bool(facts.front) and state_dir.front_folder(facts.front).is_dir()


def _tracked(facts: ContainerFacts) -> TrackedServer:
    """A container as Docker describes it."""
    record = ServerRecord(
        name=facts.server,
        engine="docker",
        host=reachable_host(facts.bind_address or "127.0.0.1"),
        rest_port=facts.rest_port,
        grpc_port=facts.grpc_port,
        models=facts.models,
        pid=None,
        container=facts.id,
        started_at=facts.started_at,
        log_path=None,
        bind_address=facts.bind_address,
        certificate=facts.certificate,
        client_ca=facts.client_ca,
    )
    return TrackedServer(record, facts.state, exit=exit_of(facts), facts=facts)
