"""Find servers without their records: processes by an environment variable, containers by their labels.

Only servers of this state directory are found: those of another one are not ours to list or stop.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from tfsctl.engines import state_dir
from tfsctl.engines.docker.container_spec import GRPC_PORT, LABEL, MODELS_LABEL, REST_PORT, STATE_LABEL
from tfsctl.engines.process import server_mark
from tfsctl.engines.registry.tracked_server import RUNNING, TrackedServer
from tfsctl.engines.server_record import ServerRecord, reachable_host
from tfsctl.errors import ProgramFailed
from tfsctl.programs import subprocesses


def processes() -> list[TrackedServer]:
    """Every server process. A server leads its session; processes that it started inherit the variable but do not."""
    import psutil

    found: list[TrackedServer] = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) != process.pid or process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                continue
            value = process.environ().get(server_mark.VARIABLE)
        except (OSError, psutil.Error):  # it has ended, or belongs to another user
            continue
        parsed = None if value is None else server_mark.parse(value, pid=process.pid)
        if parsed is not None:
            record, launch = parsed
            found.append(TrackedServer(record, launch=launch))
    return found


def containers() -> list[TrackedServer]:
    """Every container of ours, including those that have ended or never started. Empty if Docker does not answer."""
    labels = ("--filter", f"label={LABEL}", "--filter", f"label={STATE_LABEL}={state_dir.base()}")
    try:
        ids = subprocesses.run(["docker", "ps", "--all", "--quiet", "--no-trunc", *labels], timeout_s=10).stdout.split()
        if not ids:
            return []
        output = subprocesses.run(["docker", "inspect", "--type", "container", *ids], timeout_s=10).stdout
    except ProgramFailed as error:  # inspect fails if one was removed meanwhile, and still prints the others
        output = error.stdout if error.returncode == 1 and error.stdout.startswith("[") else "[]"
    return [_from_inspect(facts) for facts in json.loads(output)]


def _from_inspect(facts: Mapping[str, Any]) -> TrackedServer:
    """A container as `docker inspect` describes it."""
    labels, state = facts["Config"]["Labels"], facts["State"]
    host, rest_port = _published(facts, REST_PORT)
    record = ServerRecord(
        name=labels[LABEL],
        engine="docker",
        host=reachable_host(host),
        rest_port=rest_port,
        grpc_port=_published(facts, GRPC_PORT)[1],
        models=tuple(map(unquote, labels.get(MODELS_LABEL, "").split(","))),
        pid=None,
        container=facts["Id"],
        started_at=_unix_time(state["StartedAt"] if state["Status"] == RUNNING else facts["Created"]),
        log_path=None,
    )
    status: str = state["Status"]
    return TrackedServer(record, f"{status} ({state['ExitCode']})" if status == "exited" else status)


def _published(facts: Mapping[str, Any], port: int) -> tuple[str, int]:
    """The host's address and port for a port of the container; ("127.0.0.1", 0) if it is not published."""
    key = f"{port}/tcp"
    bound = facts["NetworkSettings"]["Ports"].get(key) or facts["HostConfig"]["PortBindings"].get(key)
    first = (bound or [{}])[0]
    return first.get("HostIp") or "127.0.0.1", int(first.get("HostPort") or 0)


def _unix_time(text: str) -> float:
    """Docker's time, such as `2026-11-24T00:57:31.695217551Z`, as Unix time; 0 for "never" (the year 1)."""
    whole = re.sub(r"\.\d+", "", text).replace("Z", "+00:00")  # Docker has more digits than Python reads
    return max(0.0, datetime.fromisoformat(whole).timestamp())
