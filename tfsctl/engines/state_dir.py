"""The state directory: what outlives a command.

- `servers/`: the records of servers (see `registry/records.py`)
- `logs/`: the logs of servers that are processes
- `configs/`: config files that were generated for a server
- `repl/`: the input history of the REPL
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tfsctl.errors import EngineError


def base() -> Path:
    """The state directory, which may not exist.

    - TFSCTL_STATE_DIR if that is set
    - otherwise the platform's folder for state (Linux: $XDG_STATE_HOME/tfsctl or ~/.local/state/tfsctl)
    - where that differs from Linux and does not exist, a directory that an earlier tfsctl made in the Linux location

    Raises EngineError if there is no home directory.
    """
    import platformdirs

    chosen = os.environ.get("TFSCTL_STATE_DIR")
    if chosen:
        return Path(chosen).absolute()
    earlier = Path(os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "tfsctl")
    with suppress(RuntimeError):  # newer versions of platformdirs raise it, older ones return a path with "~"
        path = platformdirs.user_state_path("tfsctl")
        if not str(path).startswith("~") and not str(earlier).startswith("~"):
            return (earlier if earlier.is_dir() and not path.is_dir() else path).absolute()
    raise EngineError(
        "there is no place for the state of tfsctl: this user has no home directory",
        hint="set TFSCTL_STATE_DIR to a directory",
    )


def subfolder(name: str) -> Path:
    """A folder in the state directory, created if needed and readable by its owner only.

    Raises EngineError if it cannot be created.
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
    """The log file of a server of this name that is a process."""
    return subfolder("logs") / f"{server}.log"


def repl_history() -> Path:
    """The file of the REPL's input history."""
    return subfolder("repl") / "history"


def write_atomically(path: Path, text: str) -> None:
    """Write a file by renaming a temporary one, so that readers see either the old or the new content."""
    import tempfile

    descriptor, temporary = tempfile.mkstemp(prefix=".", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


def config_folder(files: Mapping[str, str], *, server: str) -> Path:
    """The folder for generated config files of a server. It depends on their contents only, and may not exist."""
    import zlib

    digest = zlib.crc32("\0".join([*files, *files.values()]).encode())
    return base() / "configs" / server / f"{digest:08x}"


def write_config_files(files: Mapping[str, str], *, server: str) -> None:
    """Write the generated config files of a server to their `config_folder`. Does nothing if there are none.

    Everybody may read the folder, since a container may run as another user. The state directory around it is private.
    """
    if not files:
        return
    subfolder("configs")
    folder = config_folder(files, server=server)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    for file, text in files.items():
        write_atomically(folder / file, text)
        (folder / file).chmod(0o644)


def remove_config_files(server: str) -> None:
    """Remove the generated config files of a server that was stopped. They may contain a private key."""
    import shutil

    shutil.rmtree(base() / "configs" / server, ignore_errors=True)
