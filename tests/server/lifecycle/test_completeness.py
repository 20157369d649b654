"""Files of a version that would never be read to their end are refused before they are opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tfsctl.server.lifecycle.completeness import check_assets, check_file_types
from tfsctl.server.runtime.saved_model_file import MetaGraph
from tfsctl.server.status import UnsafeVersionError

FILES = [
    "fingerprint.pb",
    "variables",
    "variables/variables.index",
    "assets/words",
    "assets.extra/tfsctl_manifest.json",
]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipes_and_devices_are_refused(file: str, kind: str, tmp_path: Path) -> None:
    """Also if a symbolic link names them."""
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")

    with pytest.raises(UnsafeVersionError, match="not a regular file"):
        check_file_types(tmp_path)


def test_usual_files_pass(tmp_path: Path) -> None:
    """So do links to files and folders, and links that lead nowhere: reading them fails at once."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "variables.index").touch()
    version = tmp_path / "1"
    version.mkdir()
    (version / "variables").symlink_to(folder)
    (version / "saved_model.pb").symlink_to(folder / "variables.index")
    (version / "fingerprint.pb").symlink_to("fingerprint.pb")
    (version / "assets").symlink_to(tmp_path / "missing")

    check_file_types(version)


def test_assets_outside_of_the_version_are_checked(tmp_path: Path) -> None:
    """The graph may name any file."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "1" / "assets").mkdir(parents=True)
    with pytest.raises(UnsafeVersionError, match="not a regular file"):
        check_assets(tmp_path / "1", MetaGraph(assets=("words", "../../pipe")))
