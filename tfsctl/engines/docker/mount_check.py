"""A model's directory as a container sees it: bind-mounted alone, read by a user who may be another."""

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
    """Who reads the files: a user with these groups. Root without capabilities is a user like any other."""

    uid: int
    gids: frozenset[int]

    def may(self, status: os.stat_result) -> bool:
        """Whether it may read that file, or enter and list that directory."""
        need = 0o5 if stat.S_ISDIR(status.st_mode) else 0o4
        shift = 6 if status.st_uid == self.uid else 3 if status.st_gid in self.gids else 0
        return (status.st_mode >> shift) & need == need


def reader_of(user: str | None, *, remapped: bool) -> Reader:
    """Who a container reads as: `uid:gid`, or else root, whom a daemon may have mapped to someone without rights."""
    if remapped:
        return Reader(-1, frozenset())
    if user is None:
        return Reader(os.getuid(), frozenset({os.getgid()}))  # root is ourselves, or we are root
    uid, _, gid = user.partition(":")
    return Reader(int(uid), frozenset({int(gid or uid)}))


def check(base: Path, versions: Sequence[Path], reader: Reader | None) -> None:
    """Raise EngineError for what of these versions a container with `base` mounted would not see, or could not read.

    Without a `reader` it may read everything.
    """
    _check_words(base)
    for version in versions:
        _check_link(version, base)
    for path in (base, *(found for version in versions for found in _below(version))):
        _check_link(path, base)
        if reader is not None and not reader.may(path.stat()):
            who = "its root has no capabilities" if reader.uid == 0 else "its user may not"
            raise EngineError(
                f"the container could not read {path}: {who}", hint=f"chmod -R a+rX {shlex.quote(str(base))}"
            )


def _check_words(base: Path) -> None:
    """Refuse a path that Docker cannot be told: what it is told is JSON, and a mount in it a record of CSV."""
    try:
        can_be_told = "\r\n" not in os.fsencode(base).decode()
    except UnicodeDecodeError:
        can_be_told = False
    if not can_be_told:
        raise EngineError(
            f"Docker cannot be told of {str(base)!a}: its name is no text", hint="rename it, or --engine embedded"
        )


def _check_link(path: Path, base: Path) -> None:
    """Refuse a link inside the mount that leads out of it: what it leads to is not there in the container."""
    if path == base or not path.is_symlink():
        return
    target = os.readlink(path)
    lands = Path(os.path.normpath(path.parent / target))
    if os.path.isabs(target) or not lands.is_relative_to(base):
        raise EngineError(
            f"{path} is a link to {target}, which the container would not see: only {base} is mounted",
            hint=f"copy the files, or use a relative link within {base}",
        )


def _below(version: Path) -> Iterator[Path]:
    yield version
    for folder, folders, names in os.walk(version):
        for name in (*folders, *names):
            yield Path(folder, name)
