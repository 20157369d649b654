"""Writes the JSON bodies of REST answers from output arrays, laid out as TensorFlow Serving prints them.

Row form (`predictions`) zips the outputs by their 0-th dimension; columnar form (`outputs`) gives each output whole.
Strings are written as text, or as `{"b64": …}` if the output's name ends in `_bytes`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from tfsctl.core import dtypes
from tfsctl.core.arrays import content_bytes
from tfsctl.server.rest.json.text import float_text, float_texts, quote
from tfsctl.server.signatures.examples import Classes, ClassRows
from tfsctl.server.status import invalid_argument

_INDENT = "    "
_BLOCK, _BLOCK_BYTES = 8192, 256 * 1024  # written at once, by calls into numpy and str.join: no other thread runs then
_SAMPLED_STRINGS = 64  # of an array, to find out how long they are
_PIECE_RESULTS = 512  # of examples that are written at once


def answer(outputs: Mapping[str, np.ndarray], *, row_form: bool) -> bytes:
    """The body of a predict answer. Raises INVALID_ARGUMENT for outputs that have no such form."""
    if row_form and sum([_texts_in(array) for array in outputs.values()]) <= _BLOCK:
        return row_answers({name: array[None] for name, array in outputs.items()}, 1)[0]
    pieces = _row_pieces(outputs) if row_form else _column_pieces(outputs)
    return b"".join([piece.encode("utf-8", "surrogateescape") for piece in pieces])


def row_answers(stacked: Mapping[str, np.ndarray], count: int) -> list[bytes]:
    """The bodies of predict answers in row form for `count` requests with stacked outputs. Raises like `answer`."""
    if sum([_texts_in(array) for array in stacked.values()]) > max(count, _BLOCK):
        return [answer({name: array[at] for name, array in stacked.items()}, row_form=True) for at in range(count)]
    shapes = {name: array.shape[1:] for name, array in stacked.items()}
    batch = _batch_of(shapes)
    if len(stacked) == 1 and batch:
        ((name, array),) = stacked.items()
        return _single_output_answers(name, array, count)
    texts = {name: _texts(name, array.ravel(), _INDENT * (array.ndim + 1)) for name, array in stacked.items()}
    answers = []
    for index in range(count):
        parts = {name: _slice(texts[name], array.shape, index) for name, array in stacked.items()}
        text = f'{{\n{_INDENT}"predictions": {_rows(shapes, parts, batch)}\n}}'
        answers.append(text.encode("utf-8", "surrogateescape"))
    return answers


def _single_output_answers(name: str, array: np.ndarray, count: int) -> list[bytes]:
    """The bodies of answers in row form with one output, which has rows."""
    texts, shape = _texts(name, array.ravel(), _INDENT * array.ndim), array.shape[1:]
    size = len(texts) // count
    lines = [_single_line(texts[at * size : (at + 1) * size], shape) for at in range(count)]
    return [
        f'{{\n{_INDENT}"predictions": {line[:-1]}\n{_INDENT}]\n}}'.encode("utf-8", "surrogateescape") for line in lines
    ]


def classifications(results: ClassRows) -> bytes:
    """The body of a classify answer: a list of [label, score] for each example."""
    parts = []
    for start in range(0, len(results), _PIECE_RESULTS):
        rows = [
            "[" + ", ".join(f"[{_label(label)}, {float_text(score)}]" for label, score in _pairs(row)) + "]"
            for row in results[start : start + _PIECE_RESULTS]
        ]
        parts.append(", ".join(rows).encode("utf-8", "surrogateescape"))
    return b'{\n%b"results": [%b\n%b]\n}' % (_INDENT.encode(), b", ".join(parts), _INDENT.encode())


def _pairs(row: Classes) -> Iterable[tuple[bytes, float]]:
    return zip(row.labels, row.scores, strict=True)


def _label(label: bytes) -> str:
    return quote(label.decode("utf-8", "surrogateescape"))


def regressions(values: Sequence[float]) -> bytes:
    """The body of a regress answer: a value for each example."""
    return f'{{\n{_INDENT}"results": [{", ".join(map(float_text, values))}]\n}}'.encode()


def error(message: str) -> bytes:
    """The body of a REST error."""
    return f'{{\n{_INDENT}"error": {quote(message)}\n}}'.encode("utf-8", "surrogateescape")


def _batch_of(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The 0-th dimension of all outputs. Raises INVALID_ARGUMENT if they differ."""
    batch: int | None = None
    for name, shape in shapes.items():
        if not shape:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if batch is not None and shape[0] != batch:
            raise invalid_argument(f"Tensor name: {name} has inconsistent batch size: {shape[0]} expecting: {batch}")
        batch = shape[0]
    return batch or 0


def _rows(shapes: Mapping[str, tuple[int, ...]], texts: Mapping[str, list[str]], batch: int) -> str:
    """The rows of an answer with several outputs, from their shapes and the texts of their values."""
    if not batch:
        return "[]"
    objects = []
    for index in range(batch):
        members = ",\n".join(
            f"{_INDENT * 3}{quote(name)}: {_single_line(_slice(texts[name], shape, index), shape[1:])}"
            for name, shape in shapes.items()
        )
        objects.append(f"{_INDENT * 2}{{\n{members}\n{_INDENT * 2}}}")
    return "[\n" + ",\n".join(objects) + f"\n{_INDENT}]"


# ---- answers in pieces, made of few values each: other Python threads run in between ----
def _row_pieces(outputs: Mapping[str, np.ndarray]) -> Iterator[str]:
    """The text of an answer in row form."""
    shapes = {name: array.shape for name, array in outputs.items()}
    batch = _batch_of(shapes)
    yield f'{{\n{_INDENT}"predictions": '
    if len(outputs) == 1 and batch:
        ((name, array),) = outputs.items()
        yield "["
        yield from _elements(_SingleLine(name, array.ndim + 1), array, 1)
        yield f"\n{_INDENT}]\n}}"
        return
    size = sum([array.size for array in outputs.values()]) // max(1, batch)
    yield "[\n" if batch else "[]"
    step = max(1, _BLOCK // max(1, size))
    for start in range(0, batch, step):
        yield ",\n" if start else ""
        rows = {name: array[start : start + step] for name, array in outputs.items()}
        yield from _row_objects(rows) if size > _BLOCK else (_objects(rows),)
    yield f"\n{_INDENT}]\n}}" if batch else "\n}"


def _objects(rows: Mapping[str, np.ndarray]) -> str:
    """Some rows of several outputs."""
    texts = {name: _texts(name, array.ravel(), _INDENT * (array.ndim + 2)) for name, array in rows.items()}
    shapes = {name: array.shape for name, array in rows.items()}
    return _rows(shapes, texts, _batch_of(shapes)).removeprefix("[\n").removesuffix(f"\n{_INDENT}]")


def _row_objects(rows: Mapping[str, np.ndarray]) -> Iterator[str]:
    """One large row of several outputs."""
    yield f"{_INDENT * 2}{{\n"
    for index, (name, array) in enumerate(rows.items()):
        yield f"{',' if index else ''}{chr(10) if index else ''}{_INDENT * 3}{quote(name)}: "
        yield from _elements(_SingleLine(name, array.ndim + 2), array, 1)
    yield f"\n{_INDENT * 2}}}"


def _column_pieces(outputs: Mapping[str, np.ndarray]) -> Iterator[str]:
    """The text of an answer in columnar form."""
    yield f'{{\n{_INDENT}"outputs": '
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        yield from _column(name, array, 1)
    else:
        # TensorFlow Serving has no fixed order; this one was recorded
        for index, (name, array) in enumerate(reversed(list(outputs.items()))):
            yield f"{',' if index else '{'}\n{_INDENT * 2}{quote(name)}: "
            yield from _column(name, array, 2)
        yield f"\n{_INDENT}}}" if outputs else f"{{\n\n{_INDENT}}}"
    yield "\n}"


def _column(name: str, array: np.ndarray, level: int) -> Iterator[str]:
    """One output with one value per line; `level` is the nesting of its outermost list."""
    style = _Lines(name, level + array.ndim)
    if _texts_in(array) <= _BLOCK and not array.dtype.hasobject:
        yield style.text(array, level)
    else:
        yield from _elements(style, array[None], level - 1)


class _SingleLine:
    """Nested lists on one line. `value_level` is the nesting of a value: it indents objects over several lines."""

    def __init__(self, name: str, value_level: int) -> None:
        self.name, self.indent = name, _INDENT * value_level

    def brackets(self, level: int) -> tuple[str, str, str]:
        """What begins a list of that nesting, is between its elements, and ends it."""
        del level
        return "[", ", ", "]"

    def text(self, array: np.ndarray, level: int) -> str:
        """A whole array, whose outermost list has that nesting."""
        del level
        return _single_line(_texts(self.name, array.ravel(), self.indent), array.shape)


class _Lines(_SingleLine):
    """Nested lists with one value per line."""

    def brackets(self, level: int) -> tuple[str, str, str]:
        """What begins a list of that nesting, is between its elements, and ends it."""
        inner = f"\n{_INDENT * (level + 1)}"
        return f"[{inner}", f",{inner}", f"\n{_INDENT * level}]"

    def text(self, array: np.ndarray, level: int) -> str:
        """A whole array, whose outermost list has that nesting."""
        return _lines(_texts(self.name, array.ravel(), self.indent), array.shape, level)


def _elements(style: _SingleLine, array: np.ndarray, level: int) -> Iterator[str]:
    """The elements of a list of that nesting, without its brackets."""
    begin, between, end = style.brackets(level)
    size = math.prod(array.shape[1:])
    if size > _block_of(array) and array.ndim > 1:
        inner_begin, _, inner_end = style.brackets(level + 1)
        for index, element in enumerate(array):
            yield (between if index else "") + inner_begin
            yield from _elements(style, element, level + 1)
            yield inner_end
        return
    step = max(1, _block_of(array) // max(1, size))
    for start in range(0, len(array), step):
        yield between if start else ""
        yield style.text(array[start : start + step], level)[len(begin) : -len(end)]


def _texts_in(array: np.ndarray) -> int:
    """About how many values and lists an array is written as; of long strings, how many short ones are as long."""
    if array.dtype.hasobject:
        return max(array.size, content_bytes(array) * _BLOCK // _BLOCK_BYTES)
    return array.size or math.prod([size or 1 for size in array.shape])


def _block_of(array: np.ndarray) -> int:
    """How many values are written at once: fewer if they are long strings."""
    if not array.dtype.hasobject or not array.size:
        return _BLOCK
    longest = max([len(value) for value in array.reshape(-1)[:: array.size // _SAMPLED_STRINGS + 1].tolist()])
    return max(1, min(_BLOCK, _BLOCK_BYTES // (longest + 1)))


def _texts(name: str, flat: np.ndarray, indent: str) -> list[str]:
    """The text of every value of a flat array; `indent` is for objects over several lines."""
    if flat.dtype.char in "fd":  # float32 and float64, the most common
        return float_texts(flat)
    dtype = dtypes.from_numpy(flat.dtype)
    if dtype is dtypes.STRING:
        if not name.endswith("_bytes"):
            return [quote(value.decode("utf-8", "surrogateescape")) for value in flat.tolist()]
        head, tail = f'{{\n{indent}{_INDENT}"b64": "', f'"\n{indent}}}'
        return [head + base64.b64encode(value).decode() + tail for value in flat.tolist()]
    if flat.size and not dtype.has_json_form:
        raise invalid_argument(f"Failed to write JSON value for tensor type: {dtype.c_name}")
    if dtype.name == "bool":
        return ["true" if value else "false" for value in flat.tolist()]
    return [str(value) for value in flat.tolist()]


def _slice(texts: list[str], shape: tuple[int, ...], index: int) -> list[str]:
    size = len(texts) // shape[0]
    return texts[index * size : (index + 1) * size]


def _single_line(texts: list[str], shape: tuple[int, ...]) -> str:
    """Nested lists on one line: `[[1.0, 2.0], [3.0, 4.0]]`."""
    for depth in range(len(shape) - 1, -1, -1):
        size = shape[depth]
        if size == 0:
            texts = ["[]"] * math.prod(shape[:depth])
        elif size == 1:  # usually a score per row
            texts = [f"[{text}]" for text in texts]
        else:
            texts = [f"[{', '.join(texts[at : at + size])}]" for at in range(0, len(texts), size)]
    return texts[0]


def _lines(texts: list[str], shape: tuple[int, ...], level: int) -> str:
    """Nested lists with one value per line, indented; `level` is the nesting of the outermost list."""
    for depth in range(len(shape) - 1, -1, -1):
        size = shape[depth]
        if size == 0:
            texts = ["[]"] * math.prod(shape[:depth])
            continue
        inner, outer = _INDENT * (level + depth + 1), _INDENT * (level + depth)
        joiner = f",\n{inner}"
        texts = [f"[\n{inner}{joiner.join(texts[at : at + size])}\n{outer}]" for at in range(0, len(texts), size)]
    return texts[0]
