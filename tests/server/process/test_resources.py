"""CPU and memory limits: of the cgroup and its parents, of cgroup version 1 and 2, or of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tfsctl.server.process import resources

MACHINE_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cgroup file system; this process is in /pod/container."""
    processes = tmp_path / "cgroup"
    processes.write_text("0::/pod/container\n")
    monkeypatch.setattr(resources, "_CGROUP_ROOT", tmp_path / "fs")
    monkeypatch.setattr(resources, "_PROCESS_CGROUPS", processes)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    folder = tmp_path / "fs" / "pod" / "container"
    folder.mkdir(parents=True)
    resources.cpu_count.cache_clear()
    resources.memory_limit_bytes.cache_clear()
    return folder


@pytest.fixture(autouse=True)
def _forget_limits() -> object:
    yield
    resources.cpu_count.cache_clear()
    resources.memory_limit_bytes.cache_clear()


def test_without_a_cgroup_the_machine_is_the_limit(cgroup: Path) -> None:
    """The CPUs of the affinity and the memory of the machine."""
    assert list(cgroup.iterdir()) == []
    assert resources.cpu_count() == 8
    assert resources.memory_limit_bytes() == MACHINE_BYTES


def test_the_lowest_limit_of_the_cgroup_and_its_parents_holds(cgroup: Path) -> None:
    """A fraction of a CPU is rounded up."""
    (cgroup / "cpu.max").write_text("max 100000\n")
    (cgroup.parent / "cpu.max").write_text("250000 100000\n")
    (cgroup / "memory.max").write_text("536870912\n")
    (cgroup.parent / "memory.max").write_text("max\n")

    assert resources.cpu_count() == 3
    assert resources.memory_limit_bytes() == 512 * 1024 * 1024


def test_limits_of_cgroup_version_1_are_read(cgroup: Path, tmp_path: Path) -> None:
    """Each controller has a folder of its own; -1 is no limit."""
    (tmp_path / "cgroup").write_text("4:cpu,cpuacct:/\n3:memory:/job\n")
    cpu, memory = tmp_path / "fs" / "cpu", tmp_path / "fs" / "memory" / "job"
    cpu.mkdir()
    memory.mkdir(parents=True)
    (cpu / "cpu.cfs_quota_us").write_text("150000\n")
    (cpu / "cpu.cfs_period_us").write_text("100000\n")
    (memory / "memory.limit_in_bytes").write_text("1073741824\n")
    (memory.parent / "memory.limit_in_bytes").write_text("9223372036854771712\n")

    assert cgroup.exists()
    assert resources.cpu_count() == 2
    assert resources.memory_limit_bytes() == 1024 * 1024 * 1024


def test_a_tiny_quota_is_one_cpu(cgroup: Path) -> None:
    """Never zero."""
    (cgroup / "cpu.max").write_text("1000 100000\n")

    assert resources.cpu_count() == 1
