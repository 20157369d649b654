"""Answers written as they come: to `PATH.partial`, which takes the place of PATH once it is complete.

Beside it `PATH.progress` notes, from time to time, up to which row of the source the partial files account for and how
long they were then: what a later run goes on from, whatever ended this one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from tfsctl.core.batches import Arrays, Reject
from tfsctl.data.texts import json_lines, separated
from tfsctl.errors import InvalidInput, TfsctlError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".npy", ".npz")


class Writer(Protocol):
    """One format of results."""

    def write(self, columns: Arrays) -> None:
        """Append rows: an array for each column. Raises InvalidInput for what the format cannot hold."""

    def flush(self) -> dict[str, int]:
        """Bring everything to disk; returns the length of each partial file."""

    def finish(self, path: Path) -> None:
        """Make the complete file take the place of `path`."""

    def close(self) -> None:
        """Let go of the files, and leave them."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a run came. `about` is what it was a run of: only the same may go on."""

    about: Mapping[str, Any]
    through: int
    rows: int
    rejects: int
    files: Mapping[str, int]


class Journal:
    """The `.progress` file of one output."""

    def __init__(self, output: Path) -> None:
        self._path = output.with_name(f"{output.name}.progress")

    def read(self) -> Mark | None:
        """The last mark, or None where there is none, or its files are gone. Raises InvalidInput for a file that is none."""
        try:
            mark = Mark(**json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"{self._path} is damaged", hint=f"rm {self._path} starts anew") from error
        return mark if all(self._path.with_name(name).exists() for name in mark.files) else None

    def write(self, mark: Mark) -> None:
        """Note a mark, whole or not at all."""
        beside = self._path.with_name(f"{self._path.name}.new")
        values = {name: getattr(mark, name) for name in Mark.__dataclass_fields__}
        beside.write_text(json.dumps(values), encoding="utf-8")
        os.replace(beside, self._path)

    def remove(self) -> None:
        """Forget it."""
        self._path.unlink(missing_ok=True)


def check_output(path: Path) -> None:
    """Raise InvalidInput unless results can be written there."""
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidInput(f"--output {path}: unknown kind of file", hint=f"it ends in {', '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise InvalidInput(f"--output {path}: there is no directory {path.parent}")
    if path.is_dir():
        raise InvalidInput(f"--output {path} is a directory")


def open_writer(path: Path, lengths: Mapping[str, int] | None = None) -> Writer:
    """A writer for the file's kind; `lengths` are the partial files to go on with, from their marks."""
    kind = path.suffix.lower()
    partial = path.with_name(f"{path.name}.partial")
    if kind in (".npy", ".npz"):
        from tfsctl.data.array_results import ArrayWriter

        return ArrayWriter(partial, many=kind == ".npz", lengths=lengths)
    if kind in (".jsonl", ".ndjson"):
        return TextWriter(partial, json_lines, header=None, lengths=lengths)
    delimiter = "\t" if kind == ".tsv" else ","
    return TextWriter(partial, lambda columns: separated(columns, delimiter), header=delimiter, lengths=lengths)


def write_results(path: Path, outputs: Arrays) -> None:
    """Write the answers to one request, whole. Raises InvalidInput for what the file cannot hold."""
    check_output(path)
    if len({array.shape[:1] for array in outputs.values()}) != 1 or not next(iter(outputs.values())).ndim:
        outputs = {name: array[None] for name, array in outputs.items()}  # not a value a row: the answer is one row
    writer = open_writer(path)
    writer.write(outputs)
    writer.finish(path)


class TextWriter:
    """Lines of text."""

    def __init__(
        self, path: Path, form: Callable[[Arrays], bytes], *, header: str | None, lengths: Mapping[str, int] | None
    ) -> None:
        self._path, self._form, self._header = path, form, header
        self._file = open_partial(path, None if lengths is None else lengths.get(path.name, 0))

    def write(self, columns: Arrays) -> None:
        """Append a line a row, after the header."""
        if self._header is not None and not self._file.tell():
            names = {name: np.array([name.encode()], dtype=object) for name in columns}
            self._file.write(separated(names, self._header))
        self._file.write(self._form(columns))

    def flush(self) -> dict[str, int]:
        """Bring everything to disk."""
        self._file.flush()
        return {self._path.name: self._file.tell()}

    def finish(self, path: Path) -> None:
        """Publish it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._path, path)

    def close(self) -> None:
        """Leave it as it is."""
        self._file.close()


class RejectsWriter:
    """`PATH.rejects.jsonl`: a JSON object for each row that was not answered. There only if there are any."""

    def __init__(self, output: Path, lengths: Mapping[str, int] | None = None) -> None:
        self.path = output.with_name(f"{output.name}.rejects.jsonl")
        self._file: BinaryIO | None = None
        length = (lengths or {}).get(self.path.name, 0)
        if length:
            self._file = open_partial(self.path, length)
        else:
            self.path.unlink(missing_ok=True)

    def write(self, rejects: tuple[Reject, ...]) -> None:
        """Append rejects."""
        if not rejects:
            return
        if self._file is None:
            self._file = open_partial(self.path, None)
        for one in rejects:
            line = {"row": one.row, "error": one.error, "input": one.held}
            self._file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")

    def flush(self) -> dict[str, int]:
        """Bring everything to disk."""
        if self._file is None:
            return {}
        self._file.flush()
        return {self.path.name: self._file.tell()}

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()


def open_partial(path: Path, length: int | None) -> BinaryIO:
    """A new file, or one that is there, cut to what was marked. Raises TfsctlError, InvalidInput if it is shorter."""
    try:
        if length is None:
            return path.open("wb")
        file = path.open("r+b" if path.exists() or length else "wb")
        if os.fstat(file.fileno()).st_size < length:
            raise InvalidInput(f"{path} is shorter than its marks say", hint="without --resume it starts anew")
        file.truncate(length)
        file.seek(length)
    except OSError as error:
        raise TfsctlError(f"cannot write {path}: {error.strerror}") from error
    return file
