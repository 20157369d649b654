"""Hashes of the files of a version, compared with those that the export wrote to its manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.core.version_files.manifest import MANIFEST_FILE, read_manifest

if TYPE_CHECKING:
    import hashlib

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileDifferences:
    """The files of a version that differ from its manifest, by path relative to the version."""

    changed: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing or self.added)


def hash_files(directory: Path) -> dict[str, str]:
    """The SHA-256 of every file of a version except its manifest, which may be written later.

    By relative POSIX path, sorted. Raises OSError.
    """
    import hashlib

    hashes = {}
    for path in _files_below(directory):
        name = path.relative_to(directory)
        if name != MANIFEST_FILE:
            digest = hashlib.sha256()
            _add_contents(digest, path)
            hashes[name.as_posix()] = digest.hexdigest()
    return hashes


def compare_files(directory: Path) -> FileDifferences | None:
    """Compare the files of a version with the hashes in its manifest.

    Returns None if there is no readable manifest with hashes; tfsctl wrote none before format 2. Raises OSError if a
    file cannot be read.
    """
    recorded = read_manifest(directory).get("files")
    if not isinstance(recorded, dict):
        return None
    found = hash_files(directory)
    return FileDifferences(
        changed=tuple(sorted(name for name in found.keys() & recorded.keys() if found[name] != recorded[name])),
        missing=tuple(sorted(recorded.keys() - found.keys())),
        added=tuple(sorted(found.keys() - recorded.keys())),
    )


def content_hash(directory: Path) -> str:
    """`sha256:` and the digest of the paths and contents of all files below a directory. Raises OSError."""
    import hashlib

    digest = hashlib.sha256()
    for path in _files_below(directory):
        name = path.relative_to(directory).as_posix().encode("utf-8", "surrogateescape")
        digest.update(b"%d:%s%d:" % (len(name), name, path.stat().st_size))
        _add_contents(digest, path)
    return f"sha256:{digest.hexdigest()}"


def _files_below(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _add_contents(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
