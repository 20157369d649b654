"""The CPU and memory that running servers use.

Processes are read with psutil, containers from the control group files of this machine. `docker stats`, which takes two
seconds, is asked only about containers that do not run on this machine, such as those of Docker Desktop.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfsctl.errors import ProgramFailed
from tfsctl.programs import subprocesses

if TYPE_CHECKING:
    from tfsctl.engines.docker.cgroups import ContainerCgroup

STATS_TIMEOUT_S = 6.0  # docker stats takes two seconds, and never returns if a container ends before its first sample
SAMPLE_S = 0.25  # CPU use is the CPU time spent during this interval
CONTAINER_SAMPLE_S = 0.1  # control groups count CPU time in nanoseconds, processes in hundredths of a second
# The fields by name: the document that Podman prints for `json .` differs.
_STATS = '{"ID": "{{.ID}}", "CPUPerc": "{{.CPUPerc}}", "MemUsage": "{{.MemUsage}}"}'
_SIZE = re.compile(r"([\d.]+)\s*([kKMGT]?)(i?)B")
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU in percent of one core; memory in bytes (resident, or what Docker counts for the container)."""

    cpu_percent: float
    memory_bytes: int


def process_usage(session_leaders: Iterable[int]) -> dict[int, Usage]:
    """By process id, the use of each session leader together with its session. Processes that end are skipped."""
    leaders = set(session_leaders)
    if not leaders:
        return {}
    before, start = _sessions(leaders), time.monotonic()
    time.sleep(SAMPLE_S)
    after, elapsed = _sessions(leaders), time.monotonic() - start
    found: dict[int, Usage] = {}
    for leader in leaders:
        if leader not in before[leader] or leader not in after[leader]:
            continue
        cpu_s = sum(cpu - before[leader].get(pid, (cpu, 0))[0] for pid, (cpu, _) in after[leader].items())
        found[leader] = Usage(round(100 * cpu_s / elapsed, 1), sum(memory for _, memory in after[leader].values()))
    return found


def container_usage(containers: Mapping[str, int]) -> dict[str, Usage]:
    """By container id, the use of each running container; `containers` has the process id of each.

    Containers that end during the call are skipped, and those of another machine if Docker fails.
    """
    if not containers:
        return {}
    from tfsctl.engines.docker import cgroups  # most servers are processes, which do not need it

    groups = {container: cgroups.find(container, pid) for container, pid in containers.items()}
    here = {container: group for container, group in groups.items() if group is not None}
    found = _stats([container for container in containers if container not in here])
    before, start = {container: _cpu_s(group) for container, group in here.items()}, time.monotonic()
    if here:
        time.sleep(CONTAINER_SAMPLE_S)
    elapsed = time.monotonic() - start
    for container, group in here.items():
        cpu_s, earlier = _cpu_s(group), before[container]
        with suppress(OSError, KeyError, ValueError):
            if cpu_s is not None and earlier is not None:
                found[container] = Usage(round(100 * (cpu_s - earlier) / elapsed, 1), group.memory_bytes())
    return found


def _cpu_s(group: ContainerCgroup) -> float | None:
    try:
        return group.cpu_s()
    except (OSError, KeyError, ValueError):  # it has ended
        return None


def _stats(ids: Sequence[str]) -> dict[str, Usage]:
    """By container id, what `docker stats` prints. Empty if Docker fails."""
    if not ids:
        return {}
    try:
        argv = ["docker", "stats", "--no-stream", "--no-trunc", "--format", _STATS, *ids]
        lines = subprocesses.run(argv, timeout_s=STATS_TIMEOUT_S).stdout.splitlines()
    except ProgramFailed:  # one of them ended during the call
        return {}
    return {
        stats["ID"]: Usage(float(stats["CPUPerc"].rstrip("%")), parse_size(stats["MemUsage"].partition("/")[0]))
        for stats in map(json.loads, lines)
        if _SIZE.match(stats["MemUsage"])  # Docker prints `--` for a container that does not run
    }


def parse_size(text: str) -> int:
    """The bytes of a size as Docker prints it, such as `126.4MiB` or `1.2kB`; 0 if it is not a size."""
    match = _SIZE.match(text.strip())
    if match is None:
        return 0
    number, unit, binary = match.groups()
    return round(float(number) * (1024 if binary else 1000) ** _POWERS[unit.upper()])


def _sessions(leaders: set[int]) -> defaultdict[int, dict[int, tuple[float, int]]]:
    """By session leader, the processes of its session: seconds of CPU used so far and resident bytes."""
    import psutil

    found: defaultdict[int, dict[int, tuple[float, int]]] = defaultdict(dict)
    for pid in psutil.pids():
        try:
            session = os.getsid(pid)
            if session not in leaders:
                continue
            process = psutil.Process(pid)
            with process.oneshot():
                if process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                    cpu = process.cpu_times()
                    found[session][pid] = (cpu.user + cpu.system, process.memory_info().rss)
        except (OSError, psutil.Error):  # it has ended
            continue
    return found
