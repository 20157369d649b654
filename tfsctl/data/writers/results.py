"""Writes the results of a run over a file: CSV, TSV, JSON lines, .npy or .npz, by the suffix of the output.

Results go to `PATH.partial`, which is renamed to `PATH` when it is complete; see `checkpoints` for how a run resumes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import partial as partial_function
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from tfsctl.core.batches import NamedArrays, Reject
from tfsctl.data.writers.checkpoints import open_partial
from tfsctl.data.writers.text_lines import delimited_lines, json_lines
from tfsctl.errors import InvalidInput

OUTPUT_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".npy", ".npz")


class ResultsWriter(Protocol):
    """Writes results in one format."""

    def write(self, columns: NamedArrays) -> None:
        """Append rows: an array per column. Raises InvalidInput for values that the format cannot hold."""

    def flush(self) -> dict[str, int]:
        """Flush to disk. Returns the length in bytes of each partial file."""

    def finish(self, path: Path) -> None:
        """Rename the complete file to `path`."""

    def close(self) -> None:
        """Close the partial files without removing them."""


def check_output(path: Path) -> None:
    """Raise InvalidInput unless results can be written to a path."""
    if path.suffix.lower() not in OUTPUT_SUFFIXES:
        raise InvalidInput(
            f"--output {path}: unknown file type", hint=f"use a file name that ends in {', '.join(OUTPUT_SUFFIXES)}"
        )
    if not path.absolute().parent.is_dir():
        raise InvalidInput(f"--output {path}: there is no directory {path.parent}")
    if path.is_dir():
        raise InvalidInput(f"--output {path} is a directory")


def open_writer(path: Path, lengths: Mapping[str, int] | None = None, *, safe_csv: bool = False) -> ResultsWriter:
    """The writer for the suffix of a path.

    - `lengths`: the partial files of a checkpoint, to resume from it
    - `safe_csv`: text in CSV and TSV that a spreadsheet would run as a formula gets an apostrophe in front
    """
    suffix = path.suffix.lower()
    partial = path.with_name(f"{path.name}.partial")
    if suffix in (".npy", ".npz"):
        from tfsctl.data.writers.array_writer import ArrayWriter

        return ArrayWriter(partial, many=suffix == ".npz", lengths=lengths)
    if suffix in (".jsonl", ".ndjson"):
        return TextWriter(partial, json_lines, has_header=False, lengths=lengths)
    delimiter = "\t" if suffix == ".tsv" else ","
    encode = partial_function(delimited_lines, delimiter=delimiter, safe=safe_csv)
    return TextWriter(partial, encode, has_header=True, lengths=lengths)


def write_results(path: Path, outputs: NamedArrays, *, safe_csv: bool = False) -> None:
    """Write the outputs of one request to a file. Raises InvalidInput for values that the format cannot hold."""
    check_output(path)
    if len({array.shape[:1] for array in outputs.values()}) != 1 or not next(iter(outputs.values())).ndim:
        outputs = {
            name: array[None] for name, array in outputs.items()
        }  # not one item per row: write all of it as one row
    writer = open_writer(path, safe_csv=safe_csv)
    writer.write(outputs)
    writer.finish(path)


class TextWriter:
    """Writes lines of text. With `has_header`, the first line has the names of the columns."""

    def __init__(
        self, path: Path, encode: Callable[[NamedArrays], bytes], *, has_header: bool, lengths: Mapping[str, int] | None
    ) -> None:
        self._path, self._encode, self._has_header = path, encode, has_header
        self._file = open_partial(path, None if lengths is None else lengths.get(path.name, 0))

    def write(self, columns: NamedArrays) -> None:
        """Append one line per row; the header comes first."""
        if self._has_header and not self._file.tell():
            self._file.write(self._encode({name: np.array([name.encode()], dtype=object) for name in columns}))
        self._file.write(self._encode(columns))

    def flush(self) -> dict[str, int]:
        """Flush to disk. Returns the length in bytes of the file."""
        self._file.flush()
        return {self._path.name: self._file.tell()}

    def finish(self, path: Path) -> None:
        """Rename the complete file to `path`."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._path, path)

    def close(self) -> None:
        """Close the file without removing it."""
        self._file.close()


class RejectsWriter:
    """Writes `PATH.rejects.jsonl`, a JSON object for each row without an answer. The file exists only if there are any."""

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
            line = {"row": one.row, "error": one.error, "input": one.values}
            if one.labels:
                line["kept"] = one.labels
            self._file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")

    def flush(self) -> dict[str, int]:
        """Flush to disk. Returns the length in bytes of the file."""
        if self._file is None:
            return {}
        self._file.flush()
        return {self.path.name: self._file.tell()}

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
