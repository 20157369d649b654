"""Rows to run a model on: the `samples` of a source file, or synthetic ones.

`samples` is a list of rows (a value, or a dict of values by input), or a dict of columns by input: the shapes of
TensorFlow Serving's `instances` and `inputs`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfsctl.core import dtypes
from tfsctl.core.dtypes import DType
from tfsctl.core.types import DEFAULT_SIGNATURE, TensorSpec
from tfsctl.errors import InvalidInput

Columns = Mapping[str | None, np.ndarray]

MAX_SAMPLE_ROWS = 32
_SYNTHETIC_TEXT = b"example"
_TEXTS = (b"example", b"a second one", b"1", b"another example of a text", b"Paris")


@dataclass(frozen=True, slots=True)
class Samples:
    """At most MAX_SAMPLE_ROWS rows of `signature`, by column. The key None means the only input of a model.

    `others` holds columns for other signatures, by the signature's name.
    """

    columns: Columns
    others: Mapping[str, Columns] = field(default_factory=dict)
    signature: str = DEFAULT_SIGNATURE

    def of(self, signature: str) -> Samples | None:
        """The samples for a signature; None if there are none."""
        if signature == self.signature:
            return self
        return Samples(self.others[signature]) if signature in self.others else None

    def fit(self, specs: Sequence[TensorSpec]) -> dict[str, np.ndarray]:
        """The columns as inputs of a signature. Raises InvalidInput if they do not fit."""
        columns = dict(self.columns)
        if None in columns and len(specs) == 1:
            columns = {specs[0].name: columns[None]}
        wanted = {spec.name for spec in specs}
        if set(columns) != wanted:
            found = ", ".join(sorted(str(name) for name in columns if name is not None)) or "rows without input names"
            raise InvalidInput(f"they have {found}, but the model takes {', '.join(sorted(wanted))}")
        return {spec.name: _fit(columns[spec.name], spec) for spec in specs}


def parse_samples(value: object) -> Samples:
    """Parse the `samples` of a source file. Raises InvalidInput with the reason if they are not rows or columns."""
    if isinstance(value, Mapping):
        columns: dict[str | None, Any] = {str(name): column for name, column in value.items()}
    elif isinstance(value, (list, tuple, np.ndarray)) and len(value) > 0:
        columns = _columns(value)
    else:
        raise InvalidInput(f"{type(value).__name__} is neither a list of rows nor a dict of columns")
    arrays = {name: _array(column) for name, column in columns.items()}
    lengths = {len(array) for array in arrays.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise InvalidInput("their columns are empty or have different lengths")
    return Samples(arrays)


def synthetic_inputs(
    specs: Sequence[TensorSpec], *, rows: int, free: int, distinct: bool = False
) -> dict[str, np.ndarray]:
    """Synthetic inputs for a signature.

    They are zeros and the text "example", or, if `distinct`, values that differ from row to row and are the same in
    every export: normally distributed floats, the integers 0 and 1, and short texts.

    The batch dimension has size `rows`, other free dimensions `free`. Raises InvalidInput for a dtype without values.
    """
    made = {}
    random = np.random.default_rng(0)
    for spec in specs:
        dtype = dtypes.BY_NAME.get(spec.dtype)
        if dtype is None:
            raise InvalidInput(f"cannot generate values for {spec.name} of dtype {spec.dtype}")
        shape = [free if dim is None else dim for dim in (spec.shape or (None,))]
        if spec.shape is None or spec.shape[:1] == (None,):
            shape[0] = rows
        if spec.shape == ():
            shape = []
        if distinct:
            made[spec.name] = distinct_values(dtype, shape, random)
        else:
            made[spec.name] = np.full(shape, _SYNTHETIC_TEXT if dtype is dtypes.STRING else 0, dtype.numpy)
    return made


def distinct_values(dtype: DType, shape: Sequence[int], random: np.random.Generator) -> np.ndarray:
    """An array of values that differ: floats near 0, the integers 0 and 1, or short texts."""
    if dtype is dtypes.STRING:
        texts = np.empty(shape, object)
        texts.ravel()[:] = [_TEXTS[number] for number in random.integers(0, len(_TEXTS), texts.size)]
        firsts: Sequence[object] = _TEXTS
        values = texts
    elif dtype.is_floating or dtype.is_complex:
        return random.standard_normal(shape).astype(dtype.numpy)
    else:
        values, firsts = random.integers(0, 2, shape).astype(dtype.numpy), (0, 1)
    for row in range(len(values) if values.ndim else 0):  # neighbouring rows differ in their first value
        values[row : row + 1].ravel()[:1] = firsts[row % len(firsts)]
    return values


def png_images(count: int) -> list[bytes]:
    """Small PNG files of different greys, for models that decode images."""
    return [_png(255 * (number + 1) // (count + 1)) for number in range(count)]


def _png(grey: int) -> bytes:
    size = 64  # pixels, in both directions

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)  # 8 bits for each of three colours
    pixels = (b"\0" + bytes([grey]) * 3 * size) * size
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def _columns(rows: Sequence[Any] | np.ndarray) -> dict[str | None, Any]:
    if not isinstance(rows[0], Mapping):
        return {None: rows}
    names = list(rows[0])
    if any(not isinstance(row, Mapping) or set(row) != set(names) for row in rows):
        raise InvalidInput("their rows do not all have the same inputs")
    return {str(name): [row[name] for row in rows] for name in names}


def _array(column: object) -> np.ndarray:
    try:
        array = np.asarray(column)[:MAX_SAMPLE_ROWS]
    except (ValueError, TypeError, IndexError) as error:
        raise InvalidInput(f"they cannot be converted to arrays: {error}") from error
    if array.dtype.kind in "USO":
        return _bytes(np.array(column, object)[:MAX_SAMPLE_ROWS])  # numpy's own string dtypes strip trailing zero bytes
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _bytes(array: np.ndarray) -> np.ndarray:
    if not all(isinstance(value, (str, bytes)) for value in array.ravel()):
        raise InvalidInput("their rows differ in type or shape")
    encoded = np.empty(array.size, object)
    encoded[:] = [value.encode() if isinstance(value, str) else value for value in array.ravel()]
    return encoded.reshape(array.shape)


def _fit(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    dtype = dtypes.BY_NAME[spec.dtype]
    text = array.dtype.kind == "O"
    dims = spec.shape
    if dims and dims[0] is not None and dims[0] < len(array):
        array = array[: dims[0]]  # a signature with a fixed batch
    fits = dims is None or (
        len(dims) == array.ndim and all(d in (None, n) for d, n in zip(dims, array.shape, strict=True))
    )
    if not fits or text != (dtype is dtypes.STRING):
        found = TensorSpec(spec.name, "string" if text else array.dtype.name, array.shape)
        raise InvalidInput(
            f"{spec.name} is {found.dtype} {found.shape_text} there, the model takes {spec.dtype} {spec.shape_text}"
        )
    return array if text else array.astype(dtype.numpy)
