"""Writes arrays as nested JSON lists, laid out as TensorFlow Serving prints them, whole or in pieces.

A piece has few values, so that other Python threads run between two pieces.
Strings are written as text, or as `{"b64": …}` if the output's name ends in `_bytes`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tfsctl.core import dtypes
from tfsctl.core.arrays import content_bytes
from tfsctl.server.rest.json.text import INDENT, float_texts, quote
from tfsctl.server.status import invalid_argument

PIECE_VALUES = 4096  # written by one call into numpy and str.join, during which no other thread runs
_PIECE_STRINGS, _PIECE_BYTES = 1024, 256 * 1024  # of strings
_SAMPLED_STRINGS = 64  # of an array, to find out how long they are


@dataclass(frozen=True, slots=True)
class ListWriter:
    """Writes one output, with its lists on one line, or with each value on a line of its own.

    `value_level` is the nesting of a value: an object is written over several lines, which are indented by it.
    A `level` is the nesting of the outermost list of an array.
    """

    name: str
    value_level: int
    is_single_line: bool

    def text(self, array: np.ndarray, level: int) -> str:
        """A whole array."""
        return self.nested(value_texts(self.name, array.ravel(), INDENT * self.value_level), array.shape, level)[0]

    def nested(self, texts: list[str], shape: tuple[int, ...], level: int, count: int = 1) -> list[str]:
        """The texts of `count` arrays of this shape from those of all their values: `[[1.0, 2.0], [3.0, 4.0]]`."""
        for depth in range(len(shape) - 1, -1, -1):
            size = shape[depth]
            begin, between, end = self._brackets(level + depth)
            if size == 0:
                texts = ["[]"] * (count * math.prod(shape[:depth]))
            elif size == 1:  # usually a score per row
                texts = [f"{begin}{text}{end}" for text in texts]
            else:
                texts = [f"{begin}{between.join(texts[at : at + size])}{end}" for at in range(0, len(texts), size)]
        return texts

    def elements(self, array: np.ndarray, level: int) -> Iterator[str]:
        """The elements of the outermost list in pieces, without its brackets."""
        begin, between, end = self._brackets(level)
        size, most = math.prod(array.shape[1:]), _piece_values(array)
        if size > most and array.ndim > 1:
            inner_begin, _, inner_end = self._brackets(level + 1)
            for index, element in enumerate(array):
                yield (between if index else "") + inner_begin
                yield from self.elements(element, level + 1)
                yield inner_end
            return
        step = max(1, most // max(1, size))
        for start in range(0, len(array), step):
            yield between if start else ""
            yield self.text(array[start : start + step], level)[len(begin) : -len(end)]

    def _brackets(self, level: int) -> tuple[str, str, str]:
        """What begins a list of that nesting, is between its elements, and ends it."""
        if self.is_single_line:
            return "[", ", ", "]"
        inner = f"\n{INDENT * (level + 1)}"
        return f"[{inner}", f",{inner}", f"\n{INDENT * level}]"


def written_values(array: np.ndarray) -> int:
    """About how many values and lists an array is written as; long strings count as many short ones of that length."""
    if array.dtype.hasobject:
        return max(array.size, content_bytes(array) * PIECE_VALUES // _PIECE_BYTES)
    return array.size or math.prod([size or 1 for size in array.shape])


def _piece_values(array: np.ndarray) -> int:
    """The number of values in a piece: fewer if they are long strings."""
    if not array.dtype.hasobject or not array.size:
        return PIECE_VALUES
    longest = max([len(value) for value in array.reshape(-1)[:: array.size // _SAMPLED_STRINGS + 1].tolist()])
    return max(1, min(PIECE_VALUES, _PIECE_STRINGS, _PIECE_BYTES // (longest + 1)))


def value_texts(name: str, flat: np.ndarray, indent: str) -> list[str]:
    """The text of every value of a flat array; `indent` is for objects over several lines.

    Raises INVALID_ARGUMENT for a dtype without a JSON form.
    """
    if flat.dtype.char in "fd":  # float32 and float64, the most common
        return float_texts(flat)
    dtype = dtypes.from_numpy(flat.dtype)
    if dtype is dtypes.STRING:
        if not name.endswith("_bytes"):
            return [quote(value.decode("utf-8", "surrogateescape")) for value in flat.tolist()]
        head, tail = f'{{\n{indent}{INDENT}"b64": "', f'"\n{indent}}}'
        return [head + base64.b64encode(value).decode() + tail for value in flat.tolist()]
    if flat.size and not dtype.has_json_form:
        raise invalid_argument(f"Failed to write JSON value for tensor type: {dtype.c_name}")
    if dtype.name == "bool":
        return ["true" if value else "false" for value in flat.tolist()]
    return [str(value) for value in flat.tolist()]
