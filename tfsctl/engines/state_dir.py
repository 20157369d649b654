"""Where tfsctl keeps what outlives a command: the list of running servers, their logs, generated config files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tfsctl.errors import EngineError


def base() -> Path:
    """The state directory: TFSCTL_STATE_DIR, else XDG_STATE_HOME/tfsctl, else ~/.local/state/tfsctl."""
    chosen = os.environ.get("TFSCTL_STATE_DIR")
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "tfsctl"
    return (Path(chosen) if chosen else home).absolute()


def directory(name: str) -> Path:
    """The folder `name` of the state directory, made if need be and readable by its owner only.

    Raises EngineError when it cannot be written.
    """
    path = base() / name
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise EngineError(
            f"cannot write the state directory {path.parent}: {error.strerror}", hint="set TFSCTL_STATE_DIR to another"
        ) from error
    return path


def log_file(server: str) -> Path:
    """Where a detached server of this name that is a process writes its log."""
    return directory("logs") / f"{server}.log"


def repl_history() -> Path:
    """Where the repl remembers what was typed."""
    return directory("repl") / "history"


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or what was there before."""
    import tempfile

    descriptor, temporary = tempfile.mkstemp(prefix=".", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


def write_files(files: Mapping[str, str], *, server: str) -> Path:
    """Write the generated config files of a server; returns their folder, always the same for the same contents.

    The folder itself is open to all, since a container may run as someone else; the state directory around it is not.
    """
    import zlib

    digest = zlib.crc32("\0".join([*files, *files.values()]).encode())
    folder = directory("configs") / server / f"{digest:08x}"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    for file, text in files.items():
        write_atomically(folder / file, text)
        (folder / file).chmod(0o644)
    return folder


def forget_files(server: str) -> None:
    """Remove the generated config files of a server that was stopped: they may hold a key."""
    import shutil

    shutil.rmtree(base() / "configs" / server, ignore_errors=True)
