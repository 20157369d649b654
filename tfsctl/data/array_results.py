"""Results as arrays: .npy for one output, .npz for several. Headers are written last, when the length is known."""

from __future__ import annotations

import io
import math
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from tfsctl.core.batches import Arrays
from tfsctl.data.results import open_partial
from tfsctl.errors import InvalidInput

_LONGEST = 10**20  # numpy leaves room in a header for lengths up to this


class ArrayWriter:
    """Arrays that grow row by row, each in a file of its own until the end."""

    def __init__(self, partial: Path, *, many: bool, lengths: Mapping[str, int] | None) -> None:
        self._partial = partial
        self._many = many
        self._columns: dict[str, _Growing] = {}
        self._lengths = lengths

    def write(self, columns: Arrays) -> None:
        """Append rows."""
        if not self._many and len(columns) > 1:
            raise InvalidInput(
                f"a .npy file holds one array, not {', '.join(columns)}", hint="--output NAME.npz holds several"
            )
        for name, array in columns.items():
            plain = _plain(name, array)
            if name not in self._columns:
                path = (
                    self._partial.with_name(f"{self._partial.name}.{len(self._columns)}")
                    if self._many
                    else self._partial
                )
                length = None if self._lengths is None else self._lengths.get(path.name)
                self._columns[name] = _Growing(path, plain, length)
            self._columns[name].write(name, plain)

    def flush(self) -> dict[str, int]:
        """Bring everything to disk."""
        return dict(column.flush() for column in self._columns.values()) or dict(self._lengths or {})

    def finish(self, path: Path) -> None:
        """Publish the array, or the archive of all of them."""
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
        """Leave the files as they are."""
        for column in self._columns.values():
            column.close()


class _Growing:
    """One .npy file whose header is written over at the end."""

    def __init__(self, path: Path, first: np.ndarray, length: int | None) -> None:
        self.path = path
        self._dtype, self._row_shape = first.dtype, first.shape[1:]
        self._head = len(self._header(_LONGEST))
        self._file: BinaryIO = open_partial(path, length)
        if not length:
            self._file.write(b"\0" * self._head)

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
        rows = (self._file.tell() - self._head) // max(row_bytes, 1)
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


def _plain(name: str, array: np.ndarray) -> np.ndarray:
    """The array in a dtype that every numpy reads."""
    if array.dtype.kind == "O":
        raise InvalidInput(
            f"{name} is text, which arrays in files do not hold", hint="--output NAME.csv or NAME.jsonl do"
        )
    return array.astype(np.float32) if array.dtype.kind == "V" else array
