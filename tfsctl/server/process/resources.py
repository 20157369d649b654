"""How much CPU and memory this process may use: the limits of its cgroup (a container, a pod) or of the machine.

All thread pools and memory budgets are sized by these functions. Files: cgroup v2 `cpu.max`, `memory.max` and
`memory.current`; cgroup v1 `cpu.cfs_quota_us`, `cpu.cfs_period_us` and `memory.limit_in_bytes`
(https://docs.kernel.org/admin-guide/cgroup-v2.html). A limit of any parent cgroup applies too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_PROCESS_CGROUPS = Path("/proc/self/cgroup")


@lru_cache(maxsize=None)
def cpu_count() -> int:
    """The CPUs this process may use at a time: the least of its CPU affinity and its cgroup quota (rounded up)."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *(math.ceil(quota) for quota in _cpu_quotas())]))


@lru_cache(maxsize=None)
def memory_limit_bytes() -> int:
    """The memory this process may use: the least of the machine's memory and its cgroup limits."""
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_memory_limits()])


def available_memory_bytes() -> int:
    """The memory that is free now: the least of the machine's and of what the cgroup limits leave."""
    import psutil

    available = int(psutil.virtual_memory().available)
    for folder in _cgroup_folders("memory"):
        limit = _memory_limit(folder)
        used = _read(folder / "memory.current") or _read(folder / "memory.usage_in_bytes")
        if limit and used.isdecimal():
            available = min(available, max(0, limit - int(used) + _cached_bytes(folder)))
    return available


def _cpu_quotas() -> Iterator[float]:
    for folder in _cgroup_folders("cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")  # "max 100000" without a limit
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def _memory_limits() -> Iterator[int]:
    return filter(None, map(_memory_limit, _cgroup_folders("memory")))


def _memory_limit(folder: Path) -> int:
    """The limit of one cgroup, 0 if it has none."""
    limit = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
    return int(limit) if limit.isdecimal() else 0


def _cached_bytes(folder: Path) -> int:
    """The used memory of one cgroup that the kernel can take back: its file cache, by memory.stat."""
    cached = 0
    for line in _read(folder / "memory.stat").splitlines():
        kind, _, size = line.partition(" ")
        if kind in ("file", "cache") and size.isdecimal():  # cgroup version 2, version 1
            cached += int(size)
    return cached


def _cgroup_folders(controller: str) -> Iterator[Path]:
    """The folders of this process's cgroup and of its parents. Inside a container, the root is often all there is."""
    for line in _read(_PROCESS_CGROUPS).splitlines():  # HIERARCHY:CONTROLLERS:PATH
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        root = _CGROUP_ROOT / controller if controllers else _CGROUP_ROOT
        folder = root / path.lstrip("/")
        yield from [parent for parent in (folder, *folder.parents) if parent.is_relative_to(root)]


def _read(path: Path) -> str:
    """The text of a file without white space around it; "" if it cannot be read."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
