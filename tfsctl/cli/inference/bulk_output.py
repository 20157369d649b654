"""Where `predict --file` writes its answers: a file that --resume can continue, or stdout."""

from __future__ import annotations

import glob
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from tfsctl.cli.output import terminal
from tfsctl.core.batches import NamedArrays, Reject
from tfsctl.data.writers.checkpoints import Checkpoint, CheckpointFile, refuse_interrupted_run
from tfsctl.data.writers.results import RejectsWriter, open_writer
from tfsctl.data.writers.text_lines import delimited_lines, json_lines
from tfsctl.errors import InvalidInput, TfsctlError

_CHECKPOINT_INTERVAL_S = 1.0
_OF_THE_FILE = ("file", "size", "modified")  # names in the identity of a run that tell its input file


class BulkOutput(Protocol):
    """Receives the answers in the order of the rows. `through` is the number of input rows handled."""

    through: int
    rows: int
    rejects: int

    def write(self, columns: NamedArrays, rejects: tuple[Reject, ...], through: int) -> None:
        """Write the answers to some rows, and the rows without an answer."""

    def finish(self) -> None:
        """Complete the output, after the last row."""

    def abandon(self) -> None:
        """Stop before the last row, and keep what was written."""


class FileOutput:
    """An output file that appears once it is complete, its file of rejected rows, and a checkpoint file for --resume."""

    def __init__(self, path: Path, run: Mapping[str, Any], *, resume: bool, safe_csv: bool = False) -> None:
        self.path = path
        self._run = dict(run)
        self._checkpoint_file = CheckpointFile(path)
        if not resume:
            refuse_interrupted_run(path)
        checkpoint = self._checkpoint_file.read()
        if checkpoint is not None and checkpoint.run != self._run:
            names = (name for name in self._run if checkpoint.run.get(name) != self._run[name])
            changed = ", ".join(dict.fromkeys("the input file" if name in _OF_THE_FILE else name for name in names))
            raise InvalidInput(
                f"cannot continue the interrupted run for {path}: {changed} changed",
                hint=f"rm {path}.progress discards it",
            )
        self.resumed = checkpoint is not None
        self.through, self.rows, self.rejects = (
            (checkpoint.last_row, checkpoint.rows, checkpoint.rejects) if checkpoint else (0, 0, 0)
        )
        self._writer = open_writer(path, checkpoint.files if checkpoint else None, safe_csv=safe_csv)
        self._rejects = RejectsWriter(path, checkpoint.files if checkpoint else None)
        self._last_checkpoint = checkpoint
        self._is_consistent = True
        self._checkpointed_at = -math.inf  # write a checkpoint with the first answers

    @property
    def rejects_path(self) -> Path:
        """The file of rejected rows, if there are any."""
        return self._rejects.path

    def write(self, columns: NamedArrays, rejects: tuple[Reject, ...], through: int) -> None:
        """Append answers, and write a checkpoint about once a second. Raises TfsctlError if the disk is full."""
        count = len(next(iter(columns.values()), ()))
        self._is_consistent = False
        try:
            if columns:
                self._writer.write(columns)
            self._rejects.write(rejects)
            self.through, self.rows, self.rejects = through, self.rows + count, self.rejects + len(rejects)
            self._is_consistent = True
            if time.monotonic() - self._checkpointed_at > _CHECKPOINT_INTERVAL_S:
                self._write_checkpoint()
        except OSError as error:
            self._is_consistent = False
            raise TfsctlError(f"cannot write {self.path}: {error.strerror}") from error

    def finish(self) -> None:
        """Publish the file. Raises TfsctlError if the disk is full; `abandon` keeps the answers then."""
        try:
            self._write_checkpoint()
            self._is_consistent = False  # the files are rewritten from here on; only the checkpoint is right
            self._writer.finish(self.path)
            self._rejects.close()
        except OSError as error:
            self._is_consistent = False
            raise TfsctlError(f"cannot write {self.path}: {error.strerror}") from error
        self._checkpoint_file.remove()

    def abandon(self) -> None:
        """Keep the answers for --resume: all of them, or up to the last checkpoint if a write failed."""
        if self._is_consistent:
            with suppress(OSError):
                self._write_checkpoint()
        for file in (self._writer, self._rejects):
            with suppress(OSError):
                file.close()
        last = self._last_checkpoint
        self.through, self.rows, self.rejects = (last.last_row, last.rows, last.rejects) if last else (0, 0, 0)
        if not self.through:
            for partial in self.path.parent.glob(f"{glob.escape(self.path.name)}.partial*"):
                partial.unlink(missing_ok=True)
            self._rejects.path.unlink(missing_ok=True)
            self._checkpoint_file.remove()

    def _write_checkpoint(self) -> None:
        files = self._writer.flush() | self._rejects.flush()
        checkpoint = Checkpoint(self._run, self.through, self.rows, self.rejects, files)
        self._checkpoint_file.write(checkpoint)
        self._last_checkpoint, self._checkpointed_at = checkpoint, time.monotonic()


class StandardOutput:
    """One line per row on stdout: tab-separated values, or JSON objects with `as_json`."""

    def __init__(self, *, as_json: bool) -> None:
        self.through = self.rows = self.rejects = 0
        self._as_json = as_json

    def write(self, columns: NamedArrays, rejects: tuple[Reject, ...], through: int) -> None:
        """Print the answers. There are no rejects: --on-error skip needs an output file."""
        terminal.answer_lines(json_lines(columns) if self._as_json else delimited_lines(columns, "\t", quoted=False))
        self.through, self.rows, self.rejects = through, self.rows + len(next(iter(columns.values()), ())), len(rejects)

    def finish(self) -> None:
        """Do nothing: every line is printed already."""

    def abandon(self) -> None:
        """Do nothing: every line is printed already."""
