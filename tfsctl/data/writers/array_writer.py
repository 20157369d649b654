"""Writes results as arrays: .npy for one output, .npz for several.

The header of a .npy file holds the number of rows, so it is written again at the end, in the space left for it.
Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

from __future__ import annotations

import io
import math
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

import numpy as np
from numpy.lib import format as npy

from tfsctl.core.batches import NamedArrays
from tfsctl.data.writers.checkpoints import open_partial
from tfsctl.errors import InvalidInput

_MAX_ROWS = 10**20  # numpy pads headers for numbers of rows up to this


class ArrayWriter:
    """Appends rows to one partial file per array: `PARTIAL.NAME`, or `PARTIAL` unless there are `many` arrays."""

    def __init__(self, partial: Path, *, many: bool, lengths: Mapping[str, int] | None) -> None:
        self._partial = partial
        self._many = many
        self._columns: dict[str, _NpyFile] = {}
        for file_name, length in (lengths or {}).items():
            if file_name == partial.name or file_name.startswith(f"{partial.name}."):
                name = unquote(file_name.removeprefix(f"{partial.name}."))
                self._columns[name if many else ""] = _NpyFile.resume(partial.with_name(file_name), length)

    def write(self, columns: NamedArrays) -> None:
        """Append rows. Raises InvalidInput for text, for several arrays in a .npy file, and for rows of another shape."""
        portables = {name: _portable(name, array) for name, array in columns.items()}
        if not self._many and len(columns) > 1:
            raise InvalidInput(
                f"a .npy file holds one array, not {', '.join(columns)}", hint="--output NAME.npz holds several"
            )
        for name, portable in portables.items():
            key = name if self._many else ""
            if key not in self._columns:
                file_name = f"{self._partial.name}.{quote(name, safe='')}" if self._many else self._partial.name
                self._columns[key] = _NpyFile.create(self._partial.with_name(file_name), portable)
            self._columns[key].write(name, portable)

    def flush(self) -> dict[str, int]:
        """Flush to disk. Returns the length in bytes of each partial file."""
        return dict(column.flush() for column in self._columns.values())

    def finish(self, path: Path) -> None:
        """Rename the complete .npy file to `path`, or write all arrays to one .npz archive."""
        for column in self._columns.values():
            column.finish()
        if not self._many:
            for column in self._columns.values():
                os.replace(column.path, path)
            return
        with zipfile.ZipFile(self._partial, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, column in self._columns.items():
                with column.path.open("rb") as source, archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    shutil.copyfileobj(source, member, 1 << 20)
        os.replace(self._partial, path)
        for column in self._columns.values():
            column.path.unlink()

    def close(self) -> None:
        """Close the partial files without removing them."""
        for column in self._columns.values():
            column.close()


class _NpyFile:
    """One .npy file, to which rows of the same shape are appended."""

    def __init__(self, file: BinaryIO, path: Path, dtype: np.dtype, row_shape: tuple[int, ...]) -> None:
        self.path = path
        self._file, self._dtype, self._row_shape = file, dtype, row_shape
        self._header_bytes = len(self._header(_MAX_ROWS))

    @classmethod
    def create(cls, path: Path, first: np.ndarray) -> _NpyFile:
        """An empty file for rows of the shape and dtype of `first`."""
        npy_file = cls(open_partial(path, None), path, first.dtype, first.shape[1:])
        npy_file._file.write(npy_file._header(0))
        return npy_file

    @classmethod
    def resume(cls, path: Path, length: int) -> _NpyFile:
        """An existing file cut to `length` bytes. Raises InvalidInput if it is shorter or not a .npy file."""
        file = open_partial(path, length)
        try:
            file.seek(0)
            npy.read_magic(file)
            shape, _, dtype = npy.read_array_header_1_0(file)
        except ValueError as error:
            file.close()
            raise InvalidInput(f"{path} is damaged: {error}", hint="remove --resume to start again") from error
        file.seek(length)
        return cls(file, path, dtype, shape[1:])

    def write(self, name: str, array: np.ndarray) -> None:
        if array.shape[1:] != self._row_shape or array.dtype != self._dtype:
            raise InvalidInput(
                f"output {name!r} has rows of shape {list(array.shape[1:])} after ones of {list(self._row_shape)}",
                hint="a .jsonl file holds rows of different shapes",
            )
        self._file.write(np.ascontiguousarray(array).data)

    def flush(self) -> tuple[str, int]:
        self._file.flush()
        return self.path.name, self._file.tell()

    def finish(self) -> None:
        row_bytes = self._dtype.itemsize * math.prod(self._row_shape)
        rows = (self._file.tell() - self._header_bytes) // max(row_bytes, 1)
        self._file.seek(0)
        self._file.write(self._header(rows))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        self._file.close()

    def _header(self, rows: int) -> bytes:
        head = io.BytesIO()
        shape = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (rows, *self._row_shape)}
        npy.write_array_header_1_0(head, shape)
        return head.getvalue()


def _portable(name: str, array: np.ndarray) -> np.ndarray:
    """The array in a dtype of plain numpy: bfloat16 and 8-bit floats become float32. Raises InvalidInput for text."""
    if array.dtype.kind == "O":
        raise InvalidInput(
            f"{name} is text, which .npy and .npz files do not support", hint="--output NAME.csv or NAME.jsonl do"
        )
    return array.astype(np.float32) if array.dtype.kind == "V" else array
