"""Publishes versions in object stores and other remote file systems, through fsspec: `s3://…`, `gs://…`.

These stores have no renames of directories. So a version is uploaded file by file: first its manifest, which claims the
number, and last `saved_model.pb`, without which no server loads it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tfsctl.core import compatibility, model_dir
from tfsctl.core.saved_model import SAVED_MODEL_FILE, read_saved_model
from tfsctl.core.types import Signature
from tfsctl.core.version_files.manifest import MANIFEST_FILE
from tfsctl.errors import ExportError, InvalidInput, ModelUnreadable, TfsctlError, VersionTakenError
from tfsctl.exporter.exported import VersionComparison


def is_remote(target: str) -> bool:
    """Whether a target is a URL such as `s3://bucket/models`, not a directory of this machine."""
    return "://" in target and not target.startswith("file://")


class RemoteModel:
    """The directory of a model in a remote file system."""

    def __init__(self, target: str, name: str) -> None:
        """Open `target`/`name`. Raises InvalidInput if no installed library reads such URLs."""
        self._scheme = target.partition("://")[0]
        self.url = f"{target.rstrip('/')}/{name}"
        hint = "pip install 'tfsctl[remote]' installs the libraries for s3:// and gs://"
        try:
            import fsspec

            with self._export_errors("open", ImportError, ValueError):
                self._files, self._base = fsspec.url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            raise InvalidInput(f"{self._scheme}:// cannot be written: {error}", hint=hint) from error
        except ValueError as error:  # an unknown protocol
            raise InvalidInput(f"{target}: {error}", hint=hint) from error

    def versions(self) -> list[int]:
        """The numbers of the versions, lowest first, those that are being uploaded included. Raises ExportError."""
        try:
            with self._export_errors("list", FileNotFoundError):
                entries: list[dict[str, Any]] = self._files.ls(self._base, detail=True, refresh=True)
        except FileNotFoundError:
            self._check_bucket()
            return []
        names = (entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "directory")
        return sorted({number for name in names if (number := model_dir.parse_version(name)) is not None})

    def _check_bucket(self) -> None:
        """Raise ExportError if the bucket of an object store does not exist: it is not created."""
        bucket = self._base.strip("/").partition("/")[0]
        with self._export_errors("list"):
            if self._scheme in ("s3", "gs") and not self._files.exists(bucket):
                raise ExportError(f"there is no bucket {bucket}", hint=f"create {self._scheme}://{bucket} first")

    def new_version(self) -> int:
        """The number for a new version. Raises ExportError."""
        return model_dir.next_version(self.versions())

    def compare_with_latest(self, signatures: Mapping[str, Signature]) -> VersionComparison | None:
        """Compare signatures with those of the highest complete version, as for a local directory."""
        for version in reversed(self.versions()):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    with self._export_errors("read", FileNotFoundError):
                        self._files.get_file(
                            f"{self._base}/{version}/{SAVED_MODEL_FILE}", str(Path(folder, SAVED_MODEL_FILE))
                        )
                except FileNotFoundError:
                    continue  # it is being uploaded, or its upload was killed
                try:
                    old = read_saved_model(Path(folder)).signatures
                except ModelUnreadable:
                    return None
                return VersionComparison(version, compatibility.compare_signatures(old, signatures))
        return None

    def upload(self, directory: Path, version: int) -> str:
        """Upload a version; returns its URL. If that fails, what was uploaded is removed.

        Raises VersionTakenError if there is such a version already, ExportError if it cannot be uploaded.
        """
        if version in self.versions():
            raise self.version_taken(version)
        target = f"{self._base}/{version}"
        files = [path.relative_to(directory) for path in sorted(directory.rglob("*")) if path.is_file()]
        try:
            with self._export_errors("write", FileExistsError):
                # Of two exports that create the manifest at the same time, the store lets one succeed.
                self._files.pipe_file(
                    f"{target}/{MANIFEST_FILE.as_posix()}", (directory / MANIFEST_FILE).read_bytes(), mode="create"
                )
        except FileExistsError:
            raise self.version_taken(version) from None
        try:
            with self._export_errors("write"):
                for path in sorted(files, key=lambda path: path.as_posix() == SAVED_MODEL_FILE):
                    if path != MANIFEST_FILE:
                        self._files.put_file(str(directory / path), f"{target}/{path.as_posix()}")
        except BaseException:
            with suppress(Exception):
                self._files.rm(target, recursive=True)
            raise
        return f"{self.url}/{version}"

    def version_taken(self, version: int) -> VersionTakenError:
        """The error that a version already exists."""
        return VersionTakenError(
            f"version {version} already exists: {self.url}/{version}", hint=model_dir.VERSION_EXISTS_HINT
        )

    @contextmanager
    def _export_errors(self, action: str, *expected: type[Exception]) -> Iterator[None]:
        """Raise the errors of fsspec and its libraries as ExportError, except the expected ones."""
        try:
            yield
        except TfsctlError:
            raise
        except Exception as error:
            if isinstance(error, expected):
                raise
            reason = str(error).strip() or type(error).__name__
            raise ExportError(
                f"cannot {action} {self.url}: {reason}",
                hint="check the name and the credentials: the libraries of fsspec read their usual variables and files",
            ) from error
