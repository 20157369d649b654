"""Refuses to write a file that is also read, whatever paths lead to it (symbolic links, hard links, `./`, stdin)."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from tfsctl.data.blocks import STDIN
from tfsctl.errors import InvalidInput


def refuse_overwriting(output: Path, inputs: Iterable[Path | str]) -> None:
    """Raise InvalidInput if `--output`, or a file that a run writes next to it, is one of the input files.

    An input of `-` is stdin. Files that do not exist are no conflict.
    """
    written = {identity: path for path in _written_files(output) if (identity := _identity(path)) is not None}
    if not written:
        return
    for path in inputs:
        identity = _identity(path)
        if identity in written:
            name = "stdin" if path == STDIN else path
            raise InvalidInput(
                f"--output {output} would overwrite {written[identity]}, which is the input {name}",
                hint="use another --output",
            )


def refuse_stdout_input(path: Path | str) -> None:
    """Raise InvalidInput if stdout is redirected to the input file, as in `tfsctl predict --file F >> F`."""
    identity = _identity(path)
    if identity is not None and identity == _descriptor_identity(sys.stdout):
        raise InvalidInput(f"the output goes to {path}, which is the input", hint="redirect it to another file")


def _written_files(output: Path) -> list[Path]:
    """The output, and its partial files, rejects and checkpoint."""
    names = {f"{output.name}.rejects.jsonl", f"{output.name}.progress", f"{output.name}.progress.new"}
    partial = f"{output.name}.partial"
    try:
        neighbours = os.listdir(output.absolute().parent)
    except OSError:
        return [output]
    return [output, *(output.with_name(name) for name in neighbours if name in names or name.startswith(partial))]


def _identity(path: Path | str) -> tuple[int, int] | None:
    """Device and inode of a regular file; None for anything else, such as a pipe or a missing file."""
    if path == STDIN:
        return _descriptor_identity(sys.stdin)
    try:
        return _regular(os.stat(path))
    except (OSError, ValueError):
        return None


def _descriptor_identity(stream: object) -> tuple[int, int] | None:
    try:
        return _regular(os.fstat(stream.fileno()))  # type: ignore[attr-defined] # AttributeError is handled
    except (OSError, ValueError, AttributeError):  # closed, or without a file descriptor, as in tests
        return None


def _regular(status: os.stat_result) -> tuple[int, int] | None:
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
