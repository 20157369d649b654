"""What running servers take of the machine: CPU and memory, from /proc for processes and from `docker stats`."""

from __future__ import annotations

import json
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tfsctl.errors import ProgramFailed
from tfsctl.programs import subprocesses

STATS_S = 6.0  # docker stats takes two seconds, or for ever if a container ends before its first sample
SAMPLE_S = 0.25  # the CPU time a process takes meanwhile is what it takes now; docker stats looks for a second
# Fields by name: Podman's `json .` is another document.
_STATS = '{"ID": "{{.ID}}", "CPUPerc": "{{.CPUPerc}}", "MemUsage": "{{.MemUsage}}"}'
_SIZE = re.compile(r"([\d.]+)\s*([kKMGT]?)(i?)B")
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU in percent of one core, memory in bytes (resident, or what Docker counts for the container)."""

    cpu_percent: float
    memory_bytes: int


def of_processes(leaders: Iterable[int]) -> dict[int, Usage]:
    """What each of these processes takes together with all of its session; one that ended is left out."""
    leaders = set(leaders)
    if not leaders:
        return {}
    before, since = _sessions(), time.monotonic()
    time.sleep(SAMPLE_S)
    after, elapsed = _sessions(), time.monotonic() - since
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    found: dict[int, Usage] = {}
    for leader in leaders:
        if leader not in before[leader] or leader not in after[leader]:
            continue
        ticks = sum(now - before[leader].get(pid, (now, 0))[0] for pid, (now, _) in after[leader].items())
        pages = sum(resident for _, resident in after[leader].values())
        found[leader] = Usage(round(100 * ticks / tick / elapsed, 1), pages * page)
    return found


def of_containers(containers: Iterable[str]) -> dict[str, Usage]:
    """What each of these running containers takes, by the id it was asked by; nothing where Docker cannot say."""
    asked = list(containers)
    if not asked:
        return {}
    try:
        argv = ["docker", "stats", "--no-stream", "--no-trunc", "--format", _STATS, *asked]
        lines = subprocesses.run(argv, timeout_s=STATS_S).stdout.splitlines()
    except ProgramFailed:  # one of them ended meanwhile
        return {}
    said = [json.loads(line) for line in lines]
    return {
        facts["ID"]: Usage(float(facts["CPUPerc"].rstrip("%")), size(facts["MemUsage"].partition("/")[0]))
        for facts in said
        if _SIZE.match(facts["MemUsage"])  # `--` for one that does not run
    }


def size(text: str) -> int:
    """Bytes of a size as Docker writes it, `126.4MiB` or `1.2kB`; 0 for what is none."""
    match = _SIZE.match(text.strip())
    if match is None:
        return 0
    number, unit, binary = match.groups()
    return round(float(number) * (1024 if binary else 1000) ** _POWERS[unit.upper()])


def _sessions() -> defaultdict[int, dict[int, tuple[int, int]]]:
    """By session, its processes: the ticks of CPU each has taken and its resident pages. Format: proc(5), stat."""
    found: defaultdict[int, dict[int, tuple[int, int]]] = defaultdict(dict)
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            fields = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it ended
            continue
        if fields[0] in "ZX":  # it has ended, and waits for its parent to take note
            continue
        found[int(fields[3])][int(entry.name)] = (int(fields[11]) + int(fields[12]), int(fields[21]))
    return found
