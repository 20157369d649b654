"""Hashes of the files of a version, compared with its manifest."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from tfsctl.core.version_files.file_hashes import FileDifferences, compare_files, hash_files
from tfsctl.core.version_files.manifest import MANIFEST_FILE


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A version with two files and a manifest of them."""
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "variables" / "variables.index").write_bytes(b"")
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / MANIFEST_FILE).write_text(json.dumps({"format": 2, "files": hash_files(tmp_path)}))
    return tmp_path


def test_every_file_but_the_manifest_is_hashed(version: Path) -> None:
    """With SHA-256. The manifest holds the hashes."""
    assert hash_files(version) == {
        "saved_model.pb": sha256(b"graph").hexdigest(),
        "variables/variables.index": sha256(b"").hexdigest(),
    }


def test_unchanged_files_have_no_differences(version: Path) -> None:
    """No difference is false."""
    assert compare_files(version) == FileDifferences((), (), ())
    assert not compare_files(version)


def test_changed_missing_and_added_files_are_named(version: Path) -> None:
    (version / "saved_model.pb").write_bytes(b"grapf")
    (version / "variables" / "variables.index").unlink()
    (version / "assets.extra" / "tf_serving_warmup_requests").touch()

    assert compare_files(version) == FileDifferences(
        changed=("saved_model.pb",),
        missing=("variables/variables.index",),
        added=("assets.extra/tf_serving_warmup_requests",),
    )


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"format": 1}', '{"files": null}'])
def test_manifests_without_hashes_cannot_be_compared(version: Path, manifest: str) -> None:
    """Older manifests, and unreadable ones."""
    (version / MANIFEST_FILE).write_text(manifest)
    assert compare_files(version) is None
    (version / MANIFEST_FILE).unlink()
    assert compare_files(version) is None
