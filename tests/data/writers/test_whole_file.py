"""Reports and example requests are written completely, or not at all."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tfsctl.data.writers.whole_file import write_whole_file
from tfsctl.errors import TfsctlError

TOO_LARGE = b"x" * 100_000


@contextmanager
def small_files() -> Iterator[None]:
    """Files of this process cannot exceed 4 KB, as on a disk that becomes full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_an_existing_file_keeps_its_permissions_and_its_links(tmp_path: Path) -> None:
    """A symbolic link still leads to the file, which has the new content and no other reader than before."""
    file, link = tmp_path / "report.html", tmp_path / "link.html"
    write_whole_file(file, b"old")
    file.chmod(0o640)
    link.symlink_to(file)
    write_whole_file(link, b"new")
    assert (link.is_symlink(), file.read_bytes(), file.stat().st_mode & 0o777) == (True, b"new", 0o640)


def test_a_file_that_cannot_be_written_is_unchanged(tmp_path: Path) -> None:
    """A new file does not appear, and an existing one keeps its content. Nothing else is left in the directory."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"old")
    for path in (old, new):
        with small_files(), pytest.raises(TfsctlError, match=f"^cannot write {path}: File too large$"):
            write_whole_file(path, TOO_LARGE)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("old", b"old")]
    with pytest.raises(TfsctlError, match="No such file or directory"):
        write_whole_file(tmp_path / "no" / "file", b"")


def test_a_device_is_written_as_it_is() -> None:
    """It is not replaced by a file."""
    write_whole_file(Path("/dev/null"), b"answer")
    assert Path("/dev/null").is_char_device()
