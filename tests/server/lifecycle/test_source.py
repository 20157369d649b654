"""Which versions of a model on disk are served."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tfsctl.server.lifecycle.source import aspired_versions
from tfsctl.serving_config.model_config import ModelConfig, VersionPolicy


def test_of_duplicate_version_directories_one_is_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log names it, in the real server's words."""
    for name in ("1", "0001", "2", "x", "1.5", "-3"):
        (tmp_path / name).mkdir()

    found = aspired_versions(ModelConfig("m", str(tmp_path), VersionPolicy(all_versions=True)))

    assert found == {1: tmp_path / "1", 2: tmp_path / "2"}
    assert [record.getMessage() for record in caplog.records] == [
        "Duplicate version directories detected. Version 1 will be loaded from 1, 0001 will be ignored."
    ]


def test_a_loop_of_links_hides_no_version(tmp_path: Path) -> None:
    """Beside it, and beside a pipe and a file with a number, a version is found."""
    (tmp_path / "1").mkdir()
    (tmp_path / "2").symlink_to("2")
    os.mkfifo(tmp_path / "3")
    (tmp_path / "4").touch()

    assert aspired_versions(ModelConfig("m", str(tmp_path))) == {1: tmp_path / "1"}


def test_object_store_paths_are_not_found(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the real server's error for a scheme that its build lacks."""
    assert aspired_versions(ModelConfig("m", "s3://bucket/m")) is None
    assert [record.getMessage() for record in caplog.records] == [
        "FileSystemStoragePathSource encountered a filesystem access error: Could not find base path s3://bucket/m for "
        "servable m with error UNIMPLEMENTED: File system scheme 's3' not implemented (file: 's3://bucket/m')"
    ]
