"""Checkpoints of an interrupted run over a file: how far its results are complete, so that `--resume` can continue.

Results are written to `PATH.partial` and renamed to `PATH` at the end. Meanwhile `PATH.progress` holds the checkpoint, a
JSON object:

    {"about": {…}, "through": 800, "rows": 798, "rejects": 2, "files": {"PATH.partial": 18231}}

`about` identifies the run, `through` is the last complete row of the source, `rows` and `rejects` count the results,
`files` holds the lengths of the partial files in bytes. A resumed run cuts the files to these lengths.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tfsctl.errors import InvalidInput, TfsctlError


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a run is complete. `run` identifies it: its input, model and options."""

    run: Mapping[str, Any]
    last_row: int
    rows: int
    rejects: int
    files: Mapping[str, int]


class CheckpointFile:
    """The `.progress` file of an output file."""

    def __init__(self, output: Path) -> None:
        self._path = output.with_name(f"{output.name}.progress")

    def read(self) -> Checkpoint | None:
        """The last checkpoint, or None without one or if its files are gone. Raises InvalidInput for a damaged file."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            checkpoint = Checkpoint(found["about"], found["through"], found["rows"], found["rejects"], found["files"])
        except FileNotFoundError:
            return None
        except (RecursionError, ValueError, TypeError, KeyError) as error:
            raise InvalidInput(f"{self._path} is damaged", hint=f"rm {self._path} starts again") from error
        return checkpoint if all(self._path.with_name(name).exists() for name in checkpoint.files) else None

    def write(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint atomically."""
        values = {
            "about": checkpoint.run,
            "through": checkpoint.last_row,
            "rows": checkpoint.rows,
            "rejects": checkpoint.rejects,
            "files": checkpoint.files,
        }
        new = self._path.with_name(f"{self._path.name}.new")
        new.write_text(json.dumps(values), encoding="utf-8")
        os.replace(new, self._path)

    def remove(self) -> None:
        """Delete the file."""
        self._path.unlink(missing_ok=True)


def refuse_interrupted_run(output: Path) -> None:
    """Raise InvalidInput if an earlier run for this output was interrupted: its results would be lost."""
    checkpoint = CheckpointFile(output).read()
    if checkpoint is not None:
        raise InvalidInput(
            f"an earlier run for {output} ended after {checkpoint.last_row:,} rows",
            hint=f"--resume continues it; rm {output}.progress discards it",
        )


def open_partial(path: Path, length: int | None) -> BinaryIO:
    """A new file to write, or an existing one cut to its length in a checkpoint.

    Raises InvalidInput if the file is shorter than that, TfsctlError if it cannot be written.
    """
    try:
        if length is None:
            return path.open("wb")
        file = path.open("r+b" if path.exists() or length else "wb")
        if os.fstat(file.fileno()).st_size < length:
            raise InvalidInput(f"{path} is shorter than its progress file says", hint="remove --resume to start again")
        file.truncate(length)
        file.seek(length)
    except OSError as error:
        raise TfsctlError(f"cannot write {path}: {error.strerror}") from error
    return file
