"""A number for what a version holds: two versions have the same one if every file of theirs is the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

_PIECE = 1 << 20


def fingerprint(directory: Path) -> str:
    """`sha256:` and the digest of every file's path in the directory and contents. Raises OSError."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        name = path.relative_to(directory).as_posix().encode("utf-8", "surrogateescape")
        digest.update(b"%d:%s%d:" % (len(name), name, path.stat().st_size))
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    return f"sha256:{digest.hexdigest()}"
