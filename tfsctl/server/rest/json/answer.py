"""Writes the JSON bodies of predict answers from output arrays, laid out as TensorFlow Serving prints them.

Row form (`predictions`) zips the outputs by their 0-th dimension; columnar form (`outputs`) gives each output whole.
Small answers in row form are written at once, several requests together; all others in pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tfsctl.server.process.loop_yield import yielding
from tfsctl.server.rest.json.nested_lists import PIECE_VALUES, ListWriter, value_texts, written_values
from tfsctl.server.rest.json.text import INDENT, quote
from tfsctl.server.status import invalid_argument

_PIECE_ROWS = 512  # of several outputs, which are written row by row


def answer(outputs: Mapping[str, np.ndarray], *, row_form: bool) -> bytes:
    """The body of a predict answer. Raises INVALID_ARGUMENT for outputs that have no such form."""
    if row_form and sum([written_values(array) for array in outputs.values()]) <= PIECE_VALUES:
        return row_answers({name: array[None] for name, array in outputs.items()}, 1)[0]
    pieces = _row_pieces(outputs) if row_form else _column_pieces(outputs)
    return b"".join([piece.encode("utf-8", "surrogateescape") for piece in yielding(pieces)])


def row_answers(stacked: Mapping[str, np.ndarray], count: int) -> list[bytes]:
    """The bodies of predict answers in row form for `count` requests with stacked outputs. Raises like `answer`."""
    if sum([written_values(array) for array in stacked.values()]) > max(count, 2 * PIECE_VALUES):
        return [answer({name: array[at] for name, array in stacked.items()}, row_form=True) for at in range(count)]
    shapes = {name: array.shape[1:] for name, array in stacked.items()}
    batch = _batch_of(shapes)
    if len(stacked) == 1 and batch:
        ((name, array),) = stacked.items()
        return _single_output_answers(name, array, count)
    texts = {name: value_texts(name, array.ravel(), INDENT * (array.ndim + 1)) for name, array in stacked.items()}
    answers = []
    for index in range(count):
        parts = {name: _slice(texts[name], array.shape, index) for name, array in stacked.items()}
        text = f'{{\n{INDENT}"predictions": {_rows(shapes, parts, batch)}\n}}'
        answers.append(text.encode("utf-8", "surrogateescape"))
    return answers


def _single_output_answers(name: str, array: np.ndarray, count: int) -> list[bytes]:
    """The bodies of answers in row form with one output, which has rows."""
    texts = value_texts(name, array.ravel(), INDENT * array.ndim)
    return [
        f'{{\n{INDENT}"predictions": {rows[:-1]}\n{INDENT}]\n}}'.encode("utf-8", "surrogateescape")
        for rows in _row_writer(name, array.ndim).nested(texts, array.shape[1:], 1, count)
    ]


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


def _row_writer(name: str, value_level: int) -> ListWriter:
    return ListWriter(name, value_level, is_single_line=True)


def _rows(shapes: Mapping[str, tuple[int, ...]], texts: Mapping[str, list[str]], batch: int) -> str:
    """The rows of an answer with several outputs, from their shapes and the texts of their values."""
    if not batch:
        return "[]"
    writers = {name: _row_writer(name, len(shape) + 2) for name, shape in shapes.items()}
    objects = []
    for index in range(batch):
        members = ",\n".join(
            f"{INDENT * 3}{quote(name)}: {writers[name].nested(_slice(texts[name], shape, index), shape[1:], 3)[0]}"
            for name, shape in shapes.items()
        )
        objects.append(f"{INDENT * 2}{{\n{members}\n{INDENT * 2}}}")
    return "[\n" + ",\n".join(objects) + f"\n{INDENT}]"


def _slice(texts: list[str], shape: tuple[int, ...], index: int) -> list[str]:
    """The texts of one element of an array with this shape."""
    size = len(texts) // shape[0]
    return texts[index * size : (index + 1) * size]


def _row_pieces(outputs: Mapping[str, np.ndarray]) -> Iterator[str]:
    """The text of an answer in row form, in pieces."""
    shapes = {name: array.shape for name, array in outputs.items()}
    batch = _batch_of(shapes)
    yield f'{{\n{INDENT}"predictions": '
    if len(outputs) == 1 and batch:
        ((name, array),) = outputs.items()
        yield "["
        yield from _row_writer(name, array.ndim + 1).elements(array, 1)
        yield f"\n{INDENT}]\n}}"
        return
    size = sum([array.size for array in outputs.values()]) // max(1, batch)
    yield "[\n" if batch else "[]"
    step = max(1, min(_PIECE_ROWS, PIECE_VALUES // max(1, size)))
    for start in range(0, batch, step):
        yield ",\n" if start else ""
        rows = {name: array[start : start + step] for name, array in outputs.items()}
        yield from _large_row(rows) if size > PIECE_VALUES else (_small_rows(rows),)
    yield f"\n{INDENT}]\n}}" if batch else "\n}"


def _small_rows(rows: Mapping[str, np.ndarray]) -> str:
    """Some rows of several outputs."""
    texts = {name: value_texts(name, array.ravel(), INDENT * (array.ndim + 2)) for name, array in rows.items()}
    shapes = {name: array.shape for name, array in rows.items()}
    return _rows(shapes, texts, _batch_of(shapes)).removeprefix("[\n").removesuffix(f"\n{INDENT}]")


def _large_row(row: Mapping[str, np.ndarray]) -> Iterator[str]:
    """One row of several outputs, in pieces. Each array has one element."""
    yield f"{INDENT * 2}{{\n"
    for index, (name, array) in enumerate(row.items()):
        yield f"{',' if index else ''}{chr(10) if index else ''}{INDENT * 3}{quote(name)}: "
        yield from _row_writer(name, array.ndim + 2).elements(array, 1)
    yield f"\n{INDENT * 2}}}"


def _column_pieces(outputs: Mapping[str, np.ndarray]) -> Iterator[str]:
    """The text of an answer in columnar form, in pieces."""
    yield f'{{\n{INDENT}"outputs": '
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        yield from _column(name, array, 1)
    else:
        # TensorFlow Serving has no fixed order; this one was recorded
        for index, (name, array) in enumerate(reversed(list(outputs.items()))):
            yield f"{',' if index else '{'}\n{INDENT * 2}{quote(name)}: "
            yield from _column(name, array, 2)
        yield f"\n{INDENT}}}" if outputs else f"{{\n\n{INDENT}}}"
    yield "\n}"


def _column(name: str, array: np.ndarray, level: int) -> Iterator[str]:
    """One output with one value per line; `level` is the nesting of its outermost list."""
    writer = ListWriter(name, level + array.ndim, is_single_line=False)
    if written_values(array) <= PIECE_VALUES and not array.dtype.hasobject:
        yield writer.text(array, level)
    else:
        yield from writer.elements(array[None], level - 1)
