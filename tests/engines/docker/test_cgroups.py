"""CPU time and memory from control group files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfsctl.engines.docker import cgroups

ID = "ab" * 32


def write(folder: Path, **files: str) -> None:
    """Write files, whose names have `_` in the place of a dot."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with process 7."""
    (tmp_path / "proc/7").mkdir(parents=True)
    return tmp_path / "proc"


def test_version_2_has_all_files_in_one_directory(tmp_path: Path, proc: Path) -> None:
    """One directory has all files. Inactive file caches do not count as memory in use."""
    (proc / "7/cgroup").write_text(f"0::/system.slice/docker-{ID}.scope\n")
    write(
        tmp_path / f"root/system.slice/docker-{ID}.scope",
        cpu__stat="usage_usec 1500000\nuser_usec 1\n",
        memory__current="1000\n",
        memory__stat="anon 1\ninactive_file 300\n",
    )
    found = cgroups.find(ID, 7, root=tmp_path / "root", proc=proc)

    assert found is not None
    assert (found.cpu_s(), found.memory_bytes()) == (1.5, 700)


def test_version_1_has_a_directory_for_each_controller(tmp_path: Path, proc: Path) -> None:
    """Each controller has its own directory, and the unified one has no files."""
    lines = (f"4:memory:/docker/{ID}", f"2:cpu,cpuacct:/docker/{ID}", f"0::/docker/{ID}", "1:pids:/")
    (proc / "7/cgroup").write_text("\n".join(lines))
    write(
        tmp_path / f"root/memory/docker/{ID}",
        memory__usage_in_bytes="5000",
        memory__stat="inactive_file 1\ntotal_inactive_file 2000\n",
    )
    write(tmp_path / f"root/cpuacct/docker/{ID}", cpuacct__usage="2500000000")
    found = cgroups.find(ID, 7, root=tmp_path / "root", proc=proc)

    assert found is not None
    assert (found.cpu_s(), found.memory_bytes()) == (2.5, 3000)


def test_a_process_that_is_not_the_containers(tmp_path: Path, proc: Path) -> None:
    """The daemon is on another machine, or the process has ended."""
    (proc / "7/cgroup").write_text("0::/user.slice\n")

    assert cgroups.find(ID, 7, root=tmp_path, proc=proc) is None
    assert cgroups.find(ID, 8, root=tmp_path, proc=proc) is None
    (proc / "7/cgroup").write_text(f"0::/docker-{ID}.scope\n")
    assert cgroups.find(ID, 7, root=tmp_path, proc=proc) is None, "its files are not here"
