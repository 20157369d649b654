"""Writes the JSON bodies of REST answers from output arrays, laid out as TensorFlow Serving prints them.

Row form (`predictions`) zips the outputs by their 0-th dimension; columnar form (`outputs`) gives each output whole.
Strings are written as text, or as `{"b64": …}` if the output's name ends in `_bytes`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import numpy as np

from tfsctl.core import dtypes
from tfsctl.server.rest.json.text import float_text, float_texts, quote
from tfsctl.server.signatures.examples import Classes
from tfsctl.server.status import invalid_argument

_INDENT = "    "
_MIN_JOINED = 8  # values of an innermost row that are worth joining early
_BLOCK = 8192  # values per call into numpy or str.join, during which no other thread runs


def answer(outputs: Mapping[str, np.ndarray], *, row_form: bool) -> bytes:
    """The body of a predict answer. Raises INVALID_ARGUMENT for outputs that have no such form."""
    if row_form:
        return row_answers({name: array[None] for name, array in outputs.items()}, 1)[0]
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        text = f'{{\n{_INDENT}"outputs": {_output_lines(name, array, 1)}\n}}'
    else:
        members = ",\n".join(
            f"{_INDENT * 2}{quote(name)}: {_output_lines(name, array, 2)}"
            for name, array in reversed(
                list(outputs.items())
            )  # TensorFlow Serving has no fixed order; this one was recorded
        )
        text = f'{{\n{_INDENT}"outputs": {{\n{members}\n{_INDENT}}}\n}}'
    return text.encode("utf-8", "surrogateescape")


def row_answers(stacked: Mapping[str, np.ndarray], count: int) -> list[bytes]:
    """The bodies of predict answers in row form for `count` requests with stacked outputs. Raises like `answer`."""
    shapes = {name: array.shape[1:] for name, array in stacked.items()}
    batch = _batch_of(shapes)
    if len(stacked) == 1 and batch:
        ((name, array),) = stacked.items()
        return _single_output_answers(name, array, count)
    texts = {name: _texts_of(name, array, array.ndim + 1) for name, array in stacked.items()}
    answers = []
    for index in range(count):
        parts = {name: _slice(texts[name], array.shape, index) for name, array in stacked.items()}
        text = f'{{\n{_INDENT}"predictions": {_rows(shapes, parts, batch)}\n}}'
        answers.append(text.encode("utf-8", "surrogateescape"))
    return answers


def _single_output_answers(name: str, array: np.ndarray, count: int) -> list[bytes]:
    """The bodies of answers in row form with one output, which has rows."""
    if count == 1 and array.size > _BLOCK:
        return [_large_row_answer(name, array[0], array.ndim)]
    texts, shape = _texts_of(name, array, array.ndim), array.shape[1:]
    size = len(texts) // count
    lines = [_single_line(texts[at * size : (at + 1) * size], shape) for at in range(count)]
    return [
        f'{{\n{_INDENT}"predictions": {line[:-1]}\n{_INDENT}]\n}}'.encode("utf-8", "surrogateescape") for line in lines
    ]


def _large_row_answer(name: str, array: np.ndarray, level: int) -> bytes:
    """The body of one large answer in row form with one output, with few copies of its text at a time."""
    line = _single_line(*_joined_rows(name, array, level, ", ")).encode("utf-8", "surrogateescape")
    return b"".join((f'{{\n{_INDENT}"predictions": '.encode(), memoryview(line)[:-1], f"\n{_INDENT}]\n}}".encode()))


def classifications(results: Sequence[Classes]) -> bytes:
    """The body of a classify answer: a list of [label, score] for each example."""
    rows = [
        "[" + ", ".join(f"[{_label(label)}, {float_text(score)}]" for label, score in _pairs(row)) + "]"
        for row in results
    ]
    return f'{{\n{_INDENT}"results": [{", ".join(rows)}\n{_INDENT}]\n}}'.encode("utf-8", "surrogateescape")


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


def _output_lines(name: str, array: np.ndarray, level: int) -> str:
    """One output with one value per line; `level` is the nesting of its outermost list."""
    joiner = f",\n{_INDENT * (level + array.ndim)}"
    texts, shape = _joined_rows(name, array, level + array.ndim, joiner)
    return _lines(texts, shape, level)


def _joined_rows(name: str, array: np.ndarray, level: int, joiner: str) -> tuple[list[str], tuple[int, ...]]:
    """The text of every value, and the shape. Of a large array the values of each innermost row are joined.

    The innermost dimension is then 1. So a large answer never exists as a list of millions of strings.
    """
    size = array.shape[-1] if array.ndim else 0
    if array.size <= _BLOCK or size < _MIN_JOINED:
        return _texts_of(name, array, level), array.shape
    flat, indent = array.reshape(-1), _INDENT * level
    rows: list[str] = []
    if size > _BLOCK:
        for start in range(0, flat.size, size):
            row = flat[start : start + size]
            blocks = [joiner.join(_texts(name, row[at : at + _BLOCK], indent)) for at in range(0, size, _BLOCK)]
            rows.append(joiner.join(blocks))
    else:
        step = _BLOCK // size * size
        for start in range(0, flat.size, step):
            texts = _texts(name, flat[start : start + step], indent)
            rows += [joiner.join(texts[at : at + size]) for at in range(0, len(texts), size)]
    return rows, (*array.shape[:-1], 1)


def _texts_of(name: str, array: np.ndarray, level: int) -> list[str]:
    """The text of every value, in order. `level` is the nesting of a value: it indents objects over several lines."""
    flat, indent = array.ravel(), _INDENT * level
    if flat.size <= _BLOCK:
        return _texts(name, flat, indent)
    blocks = (_texts(name, flat[start : start + _BLOCK], indent) for start in range(0, flat.size, _BLOCK))
    return list(chain.from_iterable(blocks))


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
            texts = [f"[{_joined(', ', texts[at : at + size])}]" for at in range(0, len(texts), size)]
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
        texts = [f"[\n{inner}{_joined(joiner, texts[at : at + size])}\n{outer}]" for at in range(0, len(texts), size)]
    return texts[0]


def _joined(joiner: str, texts: list[str]) -> str:
    if len(texts) <= _BLOCK:
        return joiner.join(texts)
    return joiner.join([joiner.join(texts[at : at + _BLOCK]) for at in range(0, len(texts), _BLOCK)])
