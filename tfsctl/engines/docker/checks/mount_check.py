"""Check before the start that a container can read a model directory that is bind-mounted into it."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfsctl.errors import EngineError


@dataclass(frozen=True, slots=True)
class Reader:
    """The user that reads the files. Root without capabilities is a user like any other."""

    uid: int
    gids: frozenset[int]

    def can_read(self, status: os.stat_result) -> bool:
        """Whether the user may read that file, or enter and list that directory."""
        need = 0o5 if stat.S_ISDIR(status.st_mode) else 0o4
        shift = 6 if status.st_uid == self.uid else 3 if status.st_gid in self.gids else 0
        return (status.st_mode >> shift) & need == need


def container_reader(user: str | None, *, remapped: bool) -> Reader:
    """The host user that a container reads as. `user` is `uid:gid`; None means root in the container.

    If the daemon remaps users (`remapped`), that is a user without rights.
    """
    if remapped:
        return Reader(-1, frozenset())
    if user is None:
        return Reader(os.getuid(), frozenset({os.getgid()}))  # root in the container is our user, or we are root
    uid, _, gid = user.partition(":")
    return Reader(int(uid), frozenset({int(gid or uid)}))


def check(base: Path, versions: Sequence[Path], reader: Reader | None) -> None:
    """Raise EngineError for a file of these versions that a container with `base` mounted cannot see or read.

    `reader` is None if the container can read everything.
    """
    _check_path_text(base)
    for version in versions:
        _check_link(version, base)
    for path in (base, *(path for version in versions for path in _tree(version))):
        _check_link(path, base)
        if reader is not None and not reader.can_read(path.stat()):
            reason = "its root has no capabilities" if reader.uid == 0 else "its user may not"
            raise EngineError(
                f"the container cannot read {path}: {reason}", hint=f"chmod -R a+rX {shlex.quote(str(base))}"
            )


def _check_path_text(base: Path) -> None:
    """Refuse a path that cannot be passed to Docker, in JSON and in a mount option (a CSV record)."""
    try:
        representable = "\r\n" not in os.fsencode(base).decode()
    except UnicodeDecodeError:
        representable = False
    if not representable:
        raise EngineError(
            f"Docker cannot mount {str(base)!a}: its name is not valid text", hint="rename it, or --engine embedded"
        )


def _check_link(path: Path, base: Path) -> None:
    """Refuse a link inside the mount that leads out of it: its target does not exist in the container."""
    if path == base or not path.is_symlink():
        return
    target = os.readlink(path)
    resolved = Path(os.path.normpath(path.parent / target))
    if os.path.isabs(target) or not resolved.is_relative_to(base):
        raise EngineError(
            f"{path} is a link to {target}, outside the mounted directory {base}",
            hint=f"copy the files, or use a relative link within {base}",
        )


def _tree(version: Path) -> Iterator[Path]:
    yield version
    for folder, folders, names in os.walk(version):
        for name in (*folders, *names):
            yield Path(folder, name)
