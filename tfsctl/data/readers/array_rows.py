"""Reads rows from .npy and .npz files: each item of an array's first dimension is a row.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from tfsctl.data.blocks import BLOCK_BYTES, MAX_BLOCK_ROWS, Block, open_file
from tfsctl.errors import InvalidInput

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True, slots=True)
class NpyRows:
    """The rows of a .npy file, for the only input of a model."""

    name: str
    path: Path | str

    def blocks(self) -> Iterator[Block]:
        """All rows. Raises InvalidInput if the file is not an array of numbers or text."""
        with open_file(self.path) as (file, _position):
            yield from _blocks({"": _ArrayStream(file, self.name)})


@dataclass(frozen=True, slots=True)
class NpzRows:
    """The rows of a .npz file, whose arrays have the same length; their names are the column names."""

    name: str
    path: Path | str

    def blocks(self) -> Iterator[Block]:
        """All rows. Raises InvalidInput if the file does not hold such arrays."""
        with open_file(self.path) as (file, _position), ExitStack() as members:
            try:
                archive = members.enter_context(zipfile.ZipFile(file))
                streams = {
                    name.removesuffix(".npy"): _ArrayStream(
                        members.enter_context(archive.open(name)), f"{self.name}: {name}"
                    )
                    for name in archive.namelist()
                }
            except (zipfile.BadZipFile, RuntimeError) as error:  # RuntimeError: encrypted, or an unknown compression
                raise InvalidInput(f"{self.name} is not an .npz file: {error}") from error
            lengths = {name: stream.rows for name, stream in streams.items()}
            if len(set(lengths.values())) > 1:
                raise InvalidInput(
                    f"the arrays of {self.name} have different numbers of rows: "
                    + ", ".join(f"{name} {length}" for name, length in lengths.items())
                )
            yield from _blocks(streams)


class _ArrayStream:
    """Reads an array from a file, some rows at a time."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name
        try:
            shape, fortran_order, self._dtype = _HEADERS[npy.read_magic(file)](file)
        except (ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise InvalidInput(f"{name} is not an .npy file: {error}") from error
        if self._dtype.hasobject or not shape or min(shape) < 0:
            why = "Python objects" if self._dtype.hasobject else "no rows" if shape else "a single value"
            raise InvalidInput(f"{name} holds {why}", hint="save rows of numbers or text with numpy.save")
        self.rows, self._row_shape = shape[0], shape[1:]
        self.row_bytes = self._dtype.itemsize * math.prod(self._row_shape)
        self._is_column_major = fortran_order and len(shape) > 1
        if self._is_column_major:
            if not (
                isinstance(file, io.BufferedReader) and file.seekable()
            ):  # others would read the file again for every column
                raise InvalidInput(
                    f"{name} holds its columns one after another, and so can only be read from a plain .npy file",
                    hint="numpy.ascontiguousarray(array) holds its rows one after another",
                )
            self._next, self._start = 0, file.tell()

    def take(self, count: int) -> np.ndarray:
        """The next `count` rows."""
        if self._is_column_major:
            return self._take_from_columns(count)
        return np.frombuffer(self._read(count * self.row_bytes), self._dtype).reshape(count, *self._row_shape)

    def _take_from_columns(self, count: int) -> np.ndarray:
        """The next `count` rows of a column-major (Fortran order) array: a slice of each column."""
        size = self._dtype.itemsize
        columns = np.empty((math.prod(self._row_shape), count), self._dtype)
        for at, column in enumerate(columns):
            self._file.seek(self._start + (at * self.rows + self._next) * size)
            column[:] = np.frombuffer(self._read(count * size), self._dtype)
        self._next += count
        return columns.reshape(*reversed(self._row_shape), count).T

    def _read(self, size: int) -> bytes:
        try:
            content = self._file.read(size)
        except (zipfile.BadZipFile, zlib.error) as error:
            raise InvalidInput(f"{self._name} is damaged: {error}") from error
        if len(content) < size:
            raise InvalidInput(f"{self._name} ends too early")
        return content


def _blocks(streams: Mapping[str, _ArrayStream]) -> Iterator[Block]:
    total = next((stream.rows for stream in streams.values()), 0)
    row_bytes = sum(stream.row_bytes for stream in streams.values())
    count = max(1, min(MAX_BLOCK_ROWS, BLOCK_BYTES // max(row_bytes, 1)))
    for start in range(0, total, count):
        end = min(start + count, total)
        arrays = {name: stream.take(end - start) for name, stream in streams.items()}
        yield Block(end - start, tuple(arrays), arrays.__getitem__, fraction_read=end / total)
