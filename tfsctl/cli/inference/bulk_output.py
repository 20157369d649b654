"""Where the answers to a file go: a file that can be gone on with, or stdout."""

from __future__ import annotations

import glob
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from tfsctl.cli.output import terminal
from tfsctl.core.batches import Arrays, Reject
from tfsctl.data.checkpoints import Checkpoint, CheckpointFile
from tfsctl.data.results import RejectsWriter, open_writer
from tfsctl.data.texts import delimited_lines, json_lines
from tfsctl.errors import InvalidInput, TfsctlError

_MARK_EVERY_S = 1.0


class BulkOutput(Protocol):
    """Takes answers in the order of the rows."""

    through: int
    rows: int
    rejects: int

    def write(self, columns: Arrays, rejects: tuple[Reject, ...], through: int) -> None:
        """Take the answers to some rows, and the rows without one."""

    def finish(self) -> None:
        """All rows are answered."""

    def leave(self) -> None:
        """It ends here; what was written stays."""


class FileOutput:
    """A file that is there once it is complete, its rejects, and marks of how far it came."""

    def __init__(self, path: Path, about: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        self._about = dict(about)
        self._journal = CheckpointFile(path)
        mark = self._journal.read()
        if mark is not None and not resume:
            raise InvalidInput(
                f"an earlier run for {path} ended after {mark.last_row:,} rows",
                hint=f"--resume goes on with it; rm {path}.progress forgets it",
            )
        if mark is not None and mark.run != self._about:
            changed = ", ".join(name for name in self._about if mark.run.get(name) != self._about[name])
            raise InvalidInput(
                f"the run for {path} that was interrupted was another one: {changed} changed",
                hint=f"rm {path}.progress forgets it",
            )
        self.resumed = mark is not None
        self.through, self.rows, self.rejects = (mark.last_row, mark.rows, mark.rejects) if mark else (0, 0, 0)
        self._writer = open_writer(path, mark.files if mark else None)
        self._rejects = RejectsWriter(path, mark.files if mark else None)
        self._last = mark
        self._is_whole = True
        self._marked_at = -math.inf  # the first answers are marked at once

    @property
    def rejects_path(self) -> Path:
        """Where the rejects are, if there are any."""
        return self._rejects.path

    def write(self, columns: Arrays, rejects: tuple[Reject, ...], through: int) -> None:
        """Append, and mark now and then. Raises TfsctlError when the disk takes no more."""
        count = len(next(iter(columns.values()), ()))
        self._is_whole = False
        try:
            if columns:
                self._writer.write(columns)
            self._rejects.write(rejects)
            self.through, self.rows, self.rejects = through, self.rows + count, self.rejects + len(rejects)
            self._is_whole = True
            if time.monotonic() - self._marked_at > _MARK_EVERY_S:
                self._mark()
        except OSError as error:
            self._is_whole = False
            raise TfsctlError(f"cannot write {self.path}: {error.strerror}") from error

    def finish(self) -> None:
        """Publish. Raises TfsctlError when the disk takes no more; then `leave` keeps what is there."""
        try:
            self._mark()
            self._is_whole = False  # from here on the files are rewritten; the mark says what holds
            self._writer.finish(self.path)
            self._rejects.close()
        except OSError as error:
            self._is_whole = False
            raise TfsctlError(f"cannot write {self.path}: {error.strerror}") from error
        self._journal.remove()

    def leave(self) -> None:
        """Keep what is there for `--resume`: all of it, or what the last mark says where a write broke off."""
        if self._is_whole:
            with suppress(OSError):
                self._mark()
        for file in (self._writer, self._rejects):
            with suppress(OSError):
                file.close()
        last = self._last
        self.through, self.rows, self.rejects = (last.last_row, last.rows, last.rejects) if last else (0, 0, 0)
        if not self.through:
            for partial in self.path.parent.glob(f"{glob.escape(self.path.name)}.partial*"):
                partial.unlink(missing_ok=True)
            self._rejects.path.unlink(missing_ok=True)
            self._journal.remove()

    def _mark(self) -> None:
        files = self._writer.flush() | self._rejects.flush()
        mark = Checkpoint(self._about, self.through, self.rows, self.rejects, files)
        self._journal.write(mark)
        self._last, self._marked_at = mark, time.monotonic()


class StandardOutput:
    """A line a row on stdout: the values, or with `as_json` a JSON object."""

    def __init__(self, *, as_json: bool) -> None:
        self.through = self.rows = self.rejects = 0
        self._as_json = as_json

    def write(self, columns: Arrays, rejects: tuple[Reject, ...], through: int) -> None:
        """Print; rejects come only to files."""
        terminal.answer_bytes(json_lines(columns) if self._as_json else delimited_lines(columns, "\t", quoted=False))
        self.through, self.rows, self.rejects = through, self.rows + len(next(iter(columns.values()), ())), len(rejects)

    def finish(self) -> None:
        """Nothing is left to do."""

    def leave(self) -> None:
        """Nothing is left to do."""
