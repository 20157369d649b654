"""The state directory: what outlives a command.

- `servers/`: the records of servers (see `registry/records.py`)
- `logs/`: the logs of servers that are processes
- `configs/`: config files that were generated for a server
- `exits/`: how the processes of servers ended
- `fronts/`: the state of each front (see `rollout/front/front_files.py`)
- `locks/`: locks of server names, held while a container is started, and while labels are changed
- `changes/`: changes of labels that are under way (see `rollout/labels/intent.py`)
- `repl/`: the input history of the REPL
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tfsctl.errors import EngineError

_ANOTHER = "set TFSCTL_STATE_DIR to another directory"
_FREE_SPACE = "free disk space for the state directory"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def base() -> Path:
    """The state directory, which may not exist.

    - TFSCTL_STATE_DIR if that is set
    - otherwise the platform's folder for state (Linux: $XDG_STATE_HOME/tfsctl or ~/.local/state/tfsctl)
    - where that differs from Linux and does not exist, a directory that an earlier tfsctl made in the Linux location

    Raises EngineError if there is no home directory.
    """
    chosen = os.environ.get("TFSCTL_STATE_DIR")
    if chosen:
        return Path(chosen).absolute()
    import platformdirs

    earlier = Path(os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "tfsctl")
    with suppress(RuntimeError):  # newer versions of platformdirs raise it, older ones return a path with "~"
        path = platformdirs.user_state_path("tfsctl")
        if not str(path).startswith("~") and not str(earlier).startswith("~"):
            return (earlier if earlier.is_dir() and not path.is_dir() else path).absolute()
    raise EngineError(
        "no state directory: this user has no home directory",
        hint="set TFSCTL_STATE_DIR to a directory",
    )


def subfolder(name: str) -> Path:
    """A folder in the state directory. Both are created if needed, readable by their owner only.

    Raises EngineError if one cannot be created, is a symbolic link or belongs to another user: whoever could replace
    files there could have our server run other commands.
    """
    path = base() / name
    try:
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        for folder in (path.parent, path):
            folder.mkdir(exist_ok=True, mode=0o700)
            status = folder.lstat()
            if stat.S_ISLNK(status.st_mode):
                raise EngineError(f"{folder} of the state directory is a symbolic link", hint=_ANOTHER)
            if status.st_uid != os.geteuid():
                raise EngineError(f"{folder} of the state directory belongs to another user", hint=_ANOTHER)
    except OSError as error:
        reason = _why_not_a_directory(path.parent) if isinstance(error, FileExistsError) else error.strerror
        hint = _FREE_SPACE if error.errno in _FULL else _ANOTHER
        raise EngineError(f"cannot write the state directory {path.parent}: {reason}", hint=hint) from error
    return path


def _cannot_write(path: Path, error: OSError) -> EngineError:
    """The error for a file in the state directory. In another directory, tfsctl would not know the servers of this one."""
    hint = _FREE_SPACE if error.errno in _FULL else _ANOTHER
    return EngineError(f"cannot write {path}: {error.strerror}", hint=hint)


def _why_not_a_directory(path: Path) -> str:
    """Why a path that exists is not a directory: it is a file, or a symbolic link to itself."""
    try:
        path.stat()
    except OSError as error:
        return str(error.strerror)
    return os.strerror(errno.ENOTDIR)


def log_file(server: str) -> Path:
    """The log file of a server of this name that is a process."""
    return subfolder("logs") / f"{server}.log"


def exit_file(server: str) -> Path:
    """The file that tells how the last process of a server ended (see `programs/exit_records`). It may not exist."""
    return base() / "exits" / server


def front_folder(server: str) -> Path:
    """The folder for the state of the front of this name. It may not exist."""
    return base() / "fronts" / server


@contextmanager
def lock(server: str, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of a server name: other commands that want it wait. It is released if this process ends.

    `on_wait` is called before this process waits for another one. Raises EngineError if the state directory cannot be written.
    """
    path = subfolder("locks") / server
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        lock_exclusively(descriptor, on_wait)
        yield
    finally:
        os.close(descriptor)


def lock_exclusively(descriptor: int, on_wait: Callable[[], None]) -> None:
    """Lock an open file (flock), which its closing unlocks. `on_wait` is called before this process waits for another."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        on_wait()
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def repl_history() -> Path:
    """The file of the REPL's input history."""
    return subfolder("repl") / "history"


def write_atomically(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write a file by renaming a temporary one, so that readers see either the old or the new content.

    `mode`: its permissions. Raises EngineError if it cannot be written; the temporary file is removed then.
    """
    import tempfile

    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                os.fchmod(file.fileno(), mode)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _cannot_write(path, error) from error


def config_folder(files: Mapping[str, str], *, server: str) -> Path:
    """The folder for generated config files of a server. It depends on their contents only, and may not exist."""
    import zlib

    digest = zlib.crc32("\0".join([*files, *files.values()]).encode())
    return base() / "configs" / server / f"{digest:08x}"


def write_config_files(files: Mapping[str, str], *, server: str) -> None:
    """Write the generated config files of a server to their `config_folder`. Does nothing if there are none.

    Everybody may read the folder, since a container may run as another user. The state directory around it is private.
    Raises EngineError if they cannot be written.
    """
    if not files:
        return
    subfolder("configs")
    folder = config_folder(files, server=server)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    for file, text in files.items():
        write_atomically(folder / file, text, mode=0o644)


def rewrite_config_files(file: str, text: str, *, server: str) -> None:
    """Replace the config files of this name of a server that runs. Containers mount the folder, so they see the new one.

    Raises EngineError if one cannot be written.
    """
    for path in written_config_files(file, server=server):
        write_atomically(path, text, mode=0o644)


def written_config_files(file: str, *, server: str) -> list[Path]:
    """The config files of this name that were written for a server."""
    return sorted((base() / "configs" / server).glob(f"*/{file}"))


def remove_config_files(server: str, *, written_before: float | None = None) -> None:
    """Remove the generated config files of a server that was stopped. They may contain a private key.

    With `written_before` (Unix time), newer files are kept: a new server of the same name may be starting with them.
    """
    import shutil

    folder = base() / "configs" / server
    with suppress(OSError):
        for version in folder.iterdir():
            if written_before is None or version.stat().st_mtime < written_before:
                shutil.rmtree(version, ignore_errors=True)
        folder.rmdir()
