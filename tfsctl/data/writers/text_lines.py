"""Formats columns of results as text: JSON lines, CSV and TSV. Works on whole columns, which is much faster."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from functools import partial
from itertools import chain

import numpy as np
import orjson

from tfsctl.core import json_tensors
from tfsctl.core.batches import NamedArrays
from tfsctl.core.json_strings import JsonText, is_safe_cell

_FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")  # the last four are the full-width forms
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?|-Infinity")
_ORJSON_KINDS = frozenset("fiub")
_NUMPY_OPTION = orjson.OPT_SERIALIZE_NUMPY


def json_cells(array: np.ndarray) -> list[bytes]:
    """Each row as JSON.

    Numbers have as many digits as their dtype needs. NaN and Infinity are written bare, as TensorFlow Serving does.
    """
    if array.dtype.kind == "V":
        array = array.astype(np.float32)
    if array.dtype.kind not in _ORJSON_KINDS or array.ndim > 2 or array.size == 0:
        return [_json(row) for row in array]
    rows = np.ascontiguousarray(array)
    is_flat = array.ndim == 1
    cells = orjson.dumps(rows, option=_NUMPY_OPTION)[1 if is_flat else 2 : -1 if is_flat else -2]
    split = cells.split(b"," if is_flat else b"],[")
    if not is_flat:
        split = [b"[%b]" % cell for cell in split]
    if array.dtype.kind == "f":
        for at in np.flatnonzero(~np.isfinite(rows).reshape(len(rows), -1).all(axis=1)).tolist():
            split[at] = _json(rows[at])
    return split


def json_lines(columns: NamedArrays) -> bytes:
    """One JSON object per row, with a key per column."""
    names = [orjson.dumps(name) for name in columns]
    cells = [json_cells(array) for array in columns.values()]
    if not cells or not cells[0]:
        return b""
    if len(cells) == 1:
        return b"{%b: %b}\n" % (names[0], (b"}\n{%b: " % names[0]).join(cells[0]))
    template = b"{" + b", ".join(name.replace(b"%", b"%%") + b": %b" for name in names) + b"}\n"
    return b"".join([template % row for row in zip(*cells, strict=True)])


def delimited_lines(columns: NamedArrays, delimiter: str, *, quoted: bool = True, safe: bool = False) -> bytes:
    """One line per row, cells separated by a delimiter. A cell with several values is a JSON list.

    - `quoted`: text is quoted by the rules of CSV. Without it, text that is not printable is written as JSON.
    - `safe`: text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    flat = [array.reshape(len(array)) if array.size == len(array) else array for array in columns.values()]
    if not flat or not len(flat[0]):
        return b""
    if all(array.dtype.kind in _ORJSON_KINDS and array.ndim == 1 for array in flat) or not quoted:
        cells = [
            json_cells(array) if array.dtype.kind != "O" or array.ndim > 1 else _raw_cells(array) for array in flat
        ]
        sep = delimiter.encode()
        lines = cells[0] if len(cells) == 1 else map(sep.join, zip(*cells, strict=True))
        return b"\n".join(chain(lines, [b""]))
    text = io.StringIO()
    texts = [_text_cells(array) for array in flat]
    if safe:
        texts = [list(map(_without_formula, cells)) for cells in texts]
    has_return = any("\r" in cell for cells in texts for cell in cells)  # which the csv module alone would not quote
    writer = partial(csv.writer, text, delimiter=delimiter, lineterminator="\n")
    (writer(quoting=csv.QUOTE_ALL) if has_return else writer()).writerows(zip(*texts, strict=True))
    return text.getvalue().encode("utf-8", "surrogateescape")


def _text_cells(array: np.ndarray) -> Sequence[str]:
    if array.dtype.kind == "O" and array.ndim == 1:
        return [_text_bytes(value).decode("utf-8", "surrogateescape") for value in array.tolist()]
    return [cell.decode() for cell in json_cells(array)]


def _without_formula(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula. Numbers stay.

    Source: https://owasp.org/www-community/attacks/CSV_Injection
    """
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def _text_bytes(value: object) -> bytes:
    """A value of an array of objects as a cell; null is an empty cell."""
    if not isinstance(value, bytes):
        return _json_text(value)
    return b"" if isinstance(value, JsonText) and value == b"null" else value


def _raw_cells(array: np.ndarray) -> list[bytes]:
    """Text unchanged if it is printable; otherwise as JSON, because it could break lines or control a terminal."""
    return [cell if _is_printable(cell) else _json(cell) for cell in map(_text_bytes, array.tolist())]


def _is_printable(value: bytes) -> bool:
    try:
        return is_safe_cell(value.decode())
    except UnicodeDecodeError:
        return False


def _json(row: np.ndarray | np.generic | bytes) -> bytes:
    """One row as JSON, for values that orjson cannot write."""
    if isinstance(row, JsonText):
        return bytes(row)
    if not isinstance(row, (bytes, np.ndarray, np.generic)):  # a number among kept values of several types
        return _json_text(row)
    value = json_tensors.to_json(np.asarray(row, dtype=object if isinstance(row, bytes) else None))
    if isinstance(row, (np.ndarray, np.generic)) and row.dtype in (np.float32, np.float16):
        value = _shortest(np.asarray(row))
    return _json_text(value)


def _json_text(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogateescape")


def _shortest(array: np.ndarray) -> object:
    """Nested lists of the shortest decimal numbers that read back as the same value in the array's dtype."""
    return [_shortest(one) for one in array] if array.ndim else float(str(array[()]))
