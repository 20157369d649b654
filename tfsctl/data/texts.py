"""Arrays as text: a cell for each row, whole columns at a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from itertools import chain

import numpy as np
import orjson

from tfsctl.core import tensors
from tfsctl.core.batches import Arrays

_NATIVE = frozenset("fiub")
_AS_ARRAYS = orjson.OPT_SERIALIZE_NUMPY


def json_cells(array: np.ndarray) -> list[bytes]:
    """Each row as JSON: numbers with the digits their dtype needs, NaN and Infinity bare, as TensorFlow Serving has them."""
    if array.dtype.kind == "V":
        array = array.astype(np.float32)
    if array.dtype.kind not in _NATIVE or array.ndim > 2 or array.size == 0:
        return [_json(row) for row in array]
    rows = np.ascontiguousarray(array)
    is_flat = array.ndim == 1
    cells = orjson.dumps(rows, option=_AS_ARRAYS)[1 if is_flat else 2 : -1 if is_flat else -2]
    split = cells.split(b"," if is_flat else b"],[")
    if not is_flat:
        split = [b"[%b]" % cell for cell in split]
    if array.dtype.kind == "f":
        for at in np.flatnonzero(~np.isfinite(rows).reshape(len(rows), -1).all(axis=1)).tolist():
            split[at] = _json(rows[at])
    return split


def json_lines(columns: Arrays) -> bytes:
    """A JSON object a row."""
    names = [orjson.dumps(name) for name in columns]
    cells = [json_cells(array) for array in columns.values()]
    if not cells or not cells[0]:
        return b""
    if len(cells) == 1:
        return b"{%b: %b}\n" % (names[0], (b"}\n{%b: " % names[0]).join(cells[0]))
    form = b"{" + b", ".join(name.replace(b"%", b"%%") + b": %b" for name in names) + b"}\n"
    return b"".join([form % row for row in zip(*cells, strict=True)])


def separated(columns: Arrays, delimiter: str, *, quoted: bool = True) -> bytes:
    """A line a row; a row of one value is that value, one of several their JSON. Text is quoted where it must be."""
    plain = [array.reshape(len(array)) if array.size == len(array) else array for array in columns.values()]
    if not plain or not len(plain[0]):
        return b""
    if all(array.dtype.kind in _NATIVE and array.ndim == 1 for array in plain) or not quoted:
        cells = [json_cells(array) if array.dtype.kind != "O" or array.ndim > 1 else _raw(array) for array in plain]
        sep = delimiter.encode()
        lines = cells[0] if len(cells) == 1 else map(sep.join, zip(*cells, strict=True))
        return b"\n".join(chain(lines, [b""]))
    text = io.StringIO()
    rows = zip(*(_texts(array) for array in plain), strict=True)
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _texts(array: np.ndarray) -> Sequence[str]:
    if array.dtype.kind == "O" and array.ndim == 1:
        return [value.decode("utf-8", "surrogateescape") for value in array.tolist()]
    return [cell.decode() for cell in json_cells(array)]


def _raw(array: np.ndarray) -> list[bytes]:
    """Text as a line of its own, or as JSON where it would not be one, or would drive a terminal."""
    return [value if _is_printable(value) else _json(value) for value in array.tolist()]


def _is_printable(value: bytes) -> bool:
    try:
        return value.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _json(row: np.ndarray | np.generic | bytes) -> bytes:
    """One row as JSON, the careful way."""
    value = tensors.to_json(np.asarray(row, dtype=object if isinstance(row, bytes) else None))
    if isinstance(row, (np.ndarray, np.generic)) and row.dtype in (np.float32, np.float16):
        value = _shortened(np.asarray(row))
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogateescape")


def _shortened(array: np.ndarray) -> object:
    """Nested lists of the shortest numbers that read back the same in the array's dtype."""
    return [_shortened(one) for one in array] if array.ndim else float(str(array[()]))
