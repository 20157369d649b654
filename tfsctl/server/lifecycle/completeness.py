"""Checks the files of a version before they are read.

- TensorFlow loads a version without its variables, and then fails every request.
- Reading a named pipe waits forever, and reading a device may never end.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tfsctl.server.runtime.saved_model_file import MetaGraph
from tfsctl.server.status import Code, ServingError, UnsafeVersionError, not_found

_FOLDERS = ("", "variables", "assets", "assets.extra")


def check_file_types(directory: Path) -> None:
    """Raise UnsafeVersionError if a pipe, a device or a socket is among the files of a version."""
    for folder in _FOLDERS:
        try:
            entries = list(os.scandir(directory / folder))
        except OSError:
            continue  # there is none, or reading it says what is wrong
        _check_types(Path(entry.path) for entry in entries)


def _check_types(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise UnsafeVersionError(Code.FAILED_PRECONDITION, f"{path} is not a regular file")


def check_assets(directory: Path, meta_graph: MetaGraph | None) -> None:
    """Raise UnsafeVersionError if an asset is a pipe, a device or a socket. A graph may name files outside its version."""
    if meta_graph is not None:
        _check_types(directory / "assets" / name for name in meta_graph.assets)


@contextmanager
def check_variables(directory: Path, meta_graph: MetaGraph | None) -> Iterator[None]:
    """Check before and after the block, which loads the version. Raises NOT_FOUND if the variables' files are missing.

    They are missing while a version is being copied, and disappear while one is deleted.
    """
    index = directory / "variables" / "variables.index"
    existed = index.exists()
    if not existed and meta_graph is not None and meta_graph.has_variables:
        raise _missing(index)
    yield
    if existed and not index.exists():
        raise _missing(index)


def _missing(index: Path) -> ServingError:
    return not_found(f"{index}; the model has variables, and their files are not there")
