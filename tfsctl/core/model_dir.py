"""The directory of a model, BASE/VERSION: lists versions, publishes a new one atomically, and removes old ones.

TensorFlow Serving takes a directory for a version if its name is a number. A new version is written under another name
in the same directory, flushed to disk and renamed, so a server sees the complete version or nothing.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from tfsctl.core.saved_model import SAVED_MODEL_FILE
from tfsctl.core.similar_paths import similar_path_hint
from tfsctl.errors import ExportError, InvalidInput, NotFound, TfsctlError, VersionTakenError

# `Path` joins the slashes of a URL: s3://bucket/model becomes s3:/bucket/model.
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):/+(?P<rest>.*)", re.DOTALL | re.IGNORECASE)
_COPY_COMMANDS = {
    "s3": "copy the model here first: aws s3 sync {url} {name}, then tfsctl serve {name}",
    "gs": "copy the model here first: gcloud storage cp --recursive {url} . and then tfsctl serve {name}",
    "hdfs": "copy the model here first: hdfs dfs -get {url} {name}, then tfsctl serve {name}",
}
STAGING_PREFIX = ".tfsctl-staging-"
MAX_VERSION = 2**63 - 1
VERSION_EXISTS_HINT = "remove --version, or choose another number"


@dataclass(frozen=True, slots=True)
class VersionDir:
    """One version directory; `00000123` is version 123."""

    version: int
    path: Path


def without_scheme(path: Path | str) -> Path:
    """The path, which may be given as a `file:` URL. Raises InvalidInput for any other URL, such as s3://BUCKET/MODEL."""
    url = None if os.path.exists(path) else _URL.fullmatch(str(path))
    if url is None:
        return Path(path)
    scheme, rest = url["scheme"].lower(), url["rest"]
    if scheme == "file":
        local = Path("/", rest)
        return local if local.exists() else Path("/", unquote(rest).removeprefix("localhost/"))
    copy = _COPY_COMMANDS.get(scheme, "copy the model to a directory of this machine first")
    raise InvalidInput(
        f"{scheme}://{rest} is not a directory of this machine",
        hint=copy.format(url=f"{scheme}://{rest}", name=Path(rest).name),
    )


def parse_version(name: str) -> int | None:
    """The version number of a directory name; None if TensorFlow Serving ignores it."""
    digits = name.lstrip("0") or name[:1]
    if not (name.isascii() and name.isdigit()) or len(digits) > len(str(MAX_VERSION)) or int(digits) > MAX_VERSION:
        return None  # Python refuses to read thousands of digits
    return int(digits)


def list_versions(base: Path) -> list[VersionDir]:
    """The version directories in `base`, lowest first. Raises NotFound if `base` is not a directory, InvalidInput for a URL."""
    try:
        entries = list(os.scandir(base))
    except (FileNotFoundError, NotADirectoryError):
        if base.exists():
            raise NotFound(f"{base} is not a directory") from None
        without_scheme(base)  # raises the error for a URL
        hint = similar_path_hint(base, only_directories=True)
        raise NotFound(f"no such directory: {base}", hint=hint) from None
    found = [(parse_version(e.name), Path(e.path)) for e in entries if e.is_dir()]
    return sorted((VersionDir(v, p) for v, p in found if v is not None), key=lambda d: (d.version, d.path.name))


def is_version_dir(path: Path) -> bool:
    """Whether `path` is a SavedModel with a number as its name."""
    return parse_version(path.resolve().name) is not None and (path / SAVED_MODEL_FILE).is_file()


def new_version(base: Path, *, now_s: float | None = None) -> int:
    """The number for a new version: the Unix time in seconds, but more than the highest existing number.

    By default a server serves the highest number, so a new version must have it.
    """
    versions = [found.version for found in list_versions(base)] if base.is_dir() else []
    return next_version(versions, now_s=now_s)


def next_version(versions: Collection[int], *, now_s: float | None = None) -> int:
    """The number for a new version besides the given ones, as in `new_version`."""
    return max(int(time.time() if now_s is None else now_s), max(versions, default=0) + 1)


def refuse_existing(base: Path, version: int) -> None:
    """Raise ExportError if `version` exists, also with leading zeros: a version is never overwritten."""
    existing = next((d for d in list_versions(base) if d.version == version), None) if base.is_dir() else None
    if existing is not None:
        raise VersionTakenError(f"version {version} already exists: {existing.path}", hint=VERSION_EXISTS_HINT)


def copy_directory(source: Path, target: Path, *, copy_file: Callable[[str, str], object] = shutil.copy2) -> None:
    """Copy the content of a directory to one that may exist. Raises TfsctlError with the first file that fails."""

    def copy_or_raise(file: str, to: str) -> None:
        try:
            copy_file(file, to)
        except OSError as error:  # copytree would go on, and raise its own error with a list of all files
            raise TfsctlError(f"cannot copy {file}: {error.strerror or error}") from error

    try:
        shutil.copytree(source, target, dirs_exist_ok=True, copy_function=copy_or_raise)
    except shutil.Error as error:
        raise TfsctlError(f"cannot copy {source}: {error.args[0][0][2]}") from error
    except OSError as error:
        raise TfsctlError(f"cannot copy {error.filename or source}: {error.strerror}") from error


def remove_version(version: Path) -> None:
    """Remove the directory of a version. It disappears in one step, by a rename. Raises OSError."""
    import tempfile

    hidden = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=version.parent))
    try:
        os.rename(version, hidden / version.name)
    except OSError:
        hidden.rmdir()
        raise
    shutil.rmtree(hidden)


class Staging:
    """A version that is being written to `path`; `publish` makes it visible."""

    def __init__(self, base: Path, path: Path) -> None:
        self.base = base
        self.path = path

    def new_version(self) -> int:
        """The number for a new version."""
        return new_version(self.base)

    def publish(self, version: int | None = None) -> VersionDir:
        """Flush the files and rename the directory to `version` (default: a new number).

        Raises ExportError if `version` exists: a version is never overwritten.
        """
        _flush_tree(self.path)
        while True:
            number = new_version(self.base) if version is None else version
            target = self.base / str(number)
            if version is not None:
                refuse_existing(self.base, version)
            try:
                if target.exists():  # os.rename would replace an empty directory
                    raise FileExistsError(target)
                os.rename(self.path, target)
            except OSError as error:
                if version is None and target.exists():
                    continue  # another export took the number before the rename
                reason = f"cannot publish version {number} in {self.base}: {error.strerror or 'it exists'}"
                raise (VersionTakenError if target.exists() else ExportError)(reason) from error
            _flush(self.base)
            return VersionDir(number, target)


@contextmanager
def staging(base: Path) -> Iterator[Staging]:
    """A private directory in `base` to write a version to. It is removed afterwards unless it was published.

    The directory is locked while it is in use, so that a later export can remove those of exports that were killed.
    Parent directories created for it are removed too if nothing was published. Raises ExportError if `base` cannot be
    written.
    """
    created = [folder for folder in (base, *base.parents) if not folder.exists()]
    try:
        base.mkdir(parents=True, exist_ok=True)
        path, descriptor = _make_locked(base)
    except OSError as error:
        raise ExportError(
            f"cannot write in {base}: {error.strerror}", hint="choose another directory with --to"
        ) from error
    try:
        yield Staging(base, path)
    finally:
        os.close(descriptor)
        if path.exists():
            shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):  # not empty: a version was published, perhaps by another export
            for folder in created:
                folder.rmdir()


def _make_locked(base: Path) -> tuple[Path, int]:
    """Create a staging directory in `base` and lock it. Returns it with the descriptor that holds the lock.

    `base` is locked during that time, so that another export does not remove the new directory before it is locked.
    """
    import tempfile

    guard = os.open(base, os.O_RDONLY)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        _remove_abandoned(base)
        path = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=base))
        path.chmod(0o755)
        descriptor = os.open(path, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(guard)
    return path, descriptor


def _remove_abandoned(base: Path) -> None:
    """Remove the staging directories that no running export holds a lock of."""
    for path in base.glob(f"{STAGING_PREFIX}*"):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # in use by a running export
        else:
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)


def _flush_tree(root: Path) -> None:
    """Write all files and directories below `root` to disk."""
    for folder, _, files in os.walk(root, topdown=False):
        for name in files:
            _flush(Path(folder, name))
        _flush(Path(folder))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
