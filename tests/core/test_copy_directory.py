"""Directories are copied whole, or the first file that cannot be copied is named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tfsctl.core.model_dir import copy_directory
from tfsctl.errors import TfsctlError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model" / "assets").mkdir(parents=True)
    (tmp_path / "model" / "assets" / "words.txt").write_text("a\nb\n")
    return tmp_path / "model"


def test_all_files_are_copied_to_an_existing_directory(model: Path, tmp_path: Path) -> None:
    """The content of symbolic links is copied, as for models in a cache that consists of links."""
    (model / "link.txt").symlink_to("assets/words.txt")
    (tmp_path / "copy").mkdir()
    copy_directory(model, tmp_path / "copy")
    copied = tmp_path / "copy"
    assert (copied / "assets" / "words.txt").read_text() == (copied / "link.txt").read_text() == "a\nb\n"
    assert not (copied / "link.txt").is_symlink()


@pytest.mark.parametrize("copy_file", [shutil.copy2, shutil.copyfile])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to("nowhere"), "No such file or directory"),
        (os.mkfifo, "`{path}` is a named pipe"),
    ],
)
def test_the_file_that_cannot_be_copied_is_named(
    model: Path, tmp_path: Path, make: Callable[[Path], None], reason: str, copy_file: Callable[[str, str], object]
) -> None:
    """One line with its path and the reason, also if it is in a folder of the directory."""
    bad = model / "assets" / "other.txt"
    make(bad)
    with pytest.raises(TfsctlError) as failure:
        copy_directory(model, tmp_path / "copy", copy_file=copy_file)
    assert failure.value.message == f"cannot copy {bad}: {reason.format(path=bad)}"


def test_a_directory_that_is_gone_is_named(tmp_path: Path) -> None:
    """It may vanish between a check and the copy."""
    with pytest.raises(TfsctlError, match=f"^cannot copy {tmp_path / 'gone'}: No such file or directory$"):
        copy_directory(tmp_path / "gone", tmp_path / "copy")
