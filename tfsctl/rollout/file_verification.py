"""Compare the files of versions with the hashes in their manifests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tfsctl.core import model_dir
from tfsctl.core.saved_model import SAVED_MODEL_FILE
from tfsctl.core.version_files.file_hashes import FileDifferences, compare_files
from tfsctl.engines.model_paths import require_versions
from tfsctl.errors import ModelUnreadable


@dataclass(frozen=True, slots=True)
class FileCheck:
    """The files of one version, compared with its manifest. `differences` is None if that has no hashes."""

    path: Path
    differences: FileDifferences | None

    @property
    def result(self) -> str:
        """`ok`, `changed`, or `no manifest`."""
        if self.differences is None:
            return "no manifest"
        return "changed" if self.differences else "ok"


def verify(path: Path) -> list[FileCheck]:
    """Check a version, or every version of a model directory, lowest first.

    Raises NotFound if `path` is neither, ModelUnreadable if a file cannot be read.
    """
    path = model_dir.without_scheme(path)
    if (path / SAVED_MODEL_FILE).is_file():
        folders = [path]
    else:
        found = model_dir.list_versions(path)
        if not found:
            require_versions(path, command="verify")
        folders = [version.path for version in found]
    try:
        return [FileCheck(folder, compare_files(folder)) for folder in folders]
    except OSError as error:
        raise ModelUnreadable(f"cannot read {error.filename}: {error.strerror}") from error
