"""Where a version comes from: the git commit of its source, and the versions of the libraries that wrote it."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tfsctl.errors import ProgramFailed
from tfsctl.programs import subprocesses

_LIBRARIES = (
    *("tfsctl", "tensorflow", "keras", "tf-keras", "numpy", "jax", "tensorflow-text"),
    *("tensorflow-decision-forests", "ydf", "h5py"),
)
_GIT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class GitState:
    """The commit that a source file was exported from, and whether tracked files, or the source itself, differ."""

    commit: str
    dirty: bool

    def as_json(self) -> dict[str, object]:
        """The state for the manifest."""
        return asdict(self)


def git_state(source: Path) -> GitState | None:
    """The state of the repository that holds a source; None without git, a repository or a commit."""
    folder = str(source.resolve().parent)
    try:
        commit = _git(folder, "rev-parse", "--verify", "HEAD").strip()
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
        changed += _git(folder, "status", "--porcelain", "--", str(source.resolve()))
    except ProgramFailed:
        return None
    return GitState(commit, dirty=bool(changed.strip()))


def _git(folder: str, *arguments: str) -> str:
    argv = ["git", "--no-optional-locks", "-C", folder, *arguments]
    return subprocesses.run(argv, timeout_s=_GIT_TIMEOUT_S).stdout


def library_versions() -> dict[str, str]:
    """The versions of Python and of the installed libraries that can take part in an export."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
