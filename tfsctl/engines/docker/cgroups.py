"""The CPU time and memory of a container, read from the kernel's control group files (version 1 or 2).

Reading them takes less than a millisecond; `docker stats` takes two seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class ContainerCgroup:
    """The control group of a container: the directories of its CPU and memory files (the same in version 2)."""

    cpu: Path
    memory: Path
    version: int

    def cpu_s(self) -> float:
        """The CPU time used so far, in seconds. Raises OSError and KeyError once the container has ended."""
        if self.version == 1:
            return int((self.cpu / "cpuacct.usage").read_text()) / 1e9
        return _numbers(self.cpu / "cpu.stat")["usage_usec"] / 1e6

    def memory_bytes(self) -> int:
        """The memory in use without inactive file caches, as `docker stats` counts it. Raises as `cpu_s` does."""
        used, cached = ("memory.usage_in_bytes", "total_inactive_file")
        if self.version == 2:
            used, cached = ("memory.current", "inactive_file")
        total = int((self.memory / used).read_text())
        return max(0, total - _numbers(self.memory / "memory.stat")[cached])


def find(container: str, pid: int, *, root: Path = ROOT, proc: Path = Path("/proc")) -> ContainerCgroup | None:
    """The control group of a container by its id and the id of its process.

    None if the process is not that container's, because the daemon runs on another machine or in a virtual one, and if
    the files cannot be read.
    """
    try:
        lines = (proc / str(pid) / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    groups: dict[str, str] = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if container in path:
            groups |= dict.fromkeys(controllers.split(","), path.lstrip("/"))
    if "memory" in groups and "cpuacct" in groups:
        found = ContainerCgroup(root / "cpuacct" / groups["cpuacct"], root / "memory" / groups["memory"], 1)
    elif "" in groups:
        found = ContainerCgroup(root / groups[""], root / groups[""], 2)
    else:
        return None
    return found if found.cpu.is_dir() and found.memory.is_dir() else None


def _numbers(file: Path) -> dict[str, int]:
    """The numbers in a file with lines of the form `NAME NUMBER`."""
    return {name: int(value) for name, _, value in (line.partition(" ") for line in file.read_text().splitlines())}
