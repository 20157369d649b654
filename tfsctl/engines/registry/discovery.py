"""Servers of ours by the mark each carries from its first moment: a variable in a process, labels on a container.

A tfsctl that is killed between starting a server and registering it leaves no entry; the mark is what finds the server
then. It tells the state directory too: what another one started is not ours to list or stop.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from tfsctl.engines.docker.container_spec import GRPC_PORT, LABEL, MODELS_LABEL, REST_PORT, STATE_LABEL
from tfsctl.engines.registry import state_dir
from tfsctl.engines.registry.records import RUNNING, RunningServer, reachable
from tfsctl.errors import ProgramFailed
from tfsctl.programs import processes as other_processes
from tfsctl.programs import subprocesses

VARIABLE = "TFSCTL_SERVER"


class Marked(NamedTuple):
    """A server that was found: `state` is Docker's word for where its container is, `launch` what it was started with.

    A process is always `running`. `launch` is for `Launch.from_document`, and None where the mark does not tell.
    """

    server: RunningServer
    state: str = RUNNING
    launch: Mapping[str, Any] | None = None


def variable(server: RunningServer, launch: Mapping[str, Any]) -> dict[str, str]:
    """The variable that marks a process that is about to be started; its `pid` is not known yet."""
    mark = {"state": str(state_dir.base()), "server": asdict(server), "launch": launch}
    return {VARIABLE: json.dumps(mark)}


def processes() -> list[Marked]:
    """Every process that carries our mark and leads its session, as each server does; its children are not told."""
    return list(_marked_processes())


def _marked_processes() -> Iterator[Marked]:
    prefix = f"{VARIABLE}=".encode()
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        pid = int(entry.name)
        try:
            if os.getsid(pid) != pid:
                continue
            variables = Path(entry.path, "environ").read_bytes().split(b"\0")
        except OSError:  # it ended, or belongs to someone else
            continue
        mark = next((each.removeprefix(prefix) for each in variables if each.startswith(prefix)), None)
        if mark is None or other_processes.born(pid) is None:
            continue
        try:
            found = json.loads(mark)
            if found["state"] == str(state_dir.base()):
                facts = found["server"]
                server = RunningServer(**{**facts, "models": tuple(facts["models"]), "pid": pid})
                yield Marked(server, launch=found["launch"])
        except (ValueError, KeyError, TypeError):  # of another version of tfsctl
            continue


def containers() -> list[Marked]:
    """Every container that carries our labels, also one that has ended or never started; none if Docker is not there."""
    labels = ("--filter", f"label={LABEL}", "--filter", f"label={STATE_LABEL}={state_dir.base()}")
    try:
        ids = subprocesses.run(["docker", "ps", "--all", "--quiet", "--no-trunc", *labels], timeout_s=10).stdout.split()
        if not ids:
            return []
        said = subprocesses.run(["docker", "inspect", "--type", "container", *ids], timeout_s=10).stdout
    except ProgramFailed as error:  # what was removed meanwhile makes inspect fail, and still tells of the others
        said = error.stdout if error.returncode == 1 and error.stdout.startswith("[") else "[]"
    return [_of_container(facts) for facts in json.loads(said)]


def _of_container(facts: Mapping[str, Any]) -> Marked:
    """A container as `docker inspect` describes it."""
    labels, now = facts["Config"]["Labels"], facts["State"]
    host, rest_port = _published(facts, REST_PORT)
    server = RunningServer(
        name=labels[LABEL],
        engine="docker",
        host=reachable(host),
        rest_port=rest_port,
        grpc_port=_published(facts, GRPC_PORT)[1],
        models=tuple(labels.get(MODELS_LABEL, "").split(",")),
        pid=None,
        container=facts["Id"],
        started_at=_unix_time(now["StartedAt"] if now["Status"] == RUNNING else facts["Created"]),
        log_path=None,
    )
    status: str = now["Status"]
    return Marked(server, f"{status} ({now['ExitCode']})" if status == "exited" else status)


def _published(facts: Mapping[str, Any], port: int) -> tuple[str, int]:
    """The address and port of the host for a port of the container; (127.0.0.1, 0) while it has none."""
    key = f"{port}/tcp"
    bound = facts["NetworkSettings"]["Ports"].get(key) or facts["HostConfig"]["PortBindings"].get(key)
    first = (bound or [{}])[0]
    return first.get("HostIp") or "127.0.0.1", int(first.get("HostPort") or 0)


def _unix_time(text: str) -> float:
    """Docker's time, `2026-11-24T00:57:31.695217551Z`, as Unix time; 0 for one that never was (year 1)."""
    whole = re.sub(r"\.\d+", "", text).replace("Z", "+00:00")  # more digits than Python reads
    return max(0.0, datetime.fromisoformat(whole).timestamp())
