"""The fast paths for predict bodies that hold one array of plain numbers: text to numpy without walking the values.

`number_inputs` is for large bodies, `number_row` for small ones with one row.

Two readers, with the same results. simdjson (the optional extra `simdjson`) is the faster one; it gives the numbers of
nested lists in a row. Without it, orjson reads them. Large bodies are read in pieces. Neither tells how the numbers were
nested, so what is left of the text without the numbers (the skeleton: brackets and commas) is compared with that of a
regular array. Anything else in the array (NaN, strings, ragged lists, objects) is left to `document` and `tensor`.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from tfsctl.core.dtypes import DType
from tfsctl.server.process.loop_yield import yield_to_loop, yielding
from tfsctl.server.rest.json.bulk_values import MAX_RANK, as_dtype
from tfsctl.server.rest.json.spans import Span
from tfsctl.server.rest.json.tensor import INPUTS, INSTANCES, SIGNATURE_NAME, PredictInputs

if TYPE_CHECKING:
    from types import ModuleType

simdjson: ModuleType | None
try:
    import simdjson
except ImportError:
    simdjson = None

_NUMBER_CHARACTERS = b"0123456789+-.eE \n\r\t"
_MAX_SIMDJSON_BYTES = 1024 * 1024  # 3 ms, during which no other thread runs; the parser of the thread keeps its memory
_SKELETON_PIECE_BYTES = 256 * 1024
_PIECE_BYTES = 64 * 1024  # a millisecond; the event loop may run after each piece
_BRACKETS = re.compile(rb"\[*")
_COMMA, _CLOSING = b",]"
_MAX_ROW_START = 64  # where a row begins in a small body, unless it has unusual white space
_FIRST_NUMBER = re.compile(rb"[\[ \n\r\t]*[-0-9]")
_PLACEHOLDER = rb'"\u0000"'


class _OfThread(threading.local):
    """The parser of each thread. It keeps its memory, some eight times the size of the text.

    With a new parser for each body, page faults take half of the time.
    """

    def __init__(self) -> None:
        self.parser: Any = None if simdjson is None else simdjson.Parser()


_of_thread = _OfThread()


@dataclass(frozen=True, slots=True)
class _Envelope:
    """The parts of a body around its one array: the signature, `form` (the key of the inputs), and where the array is.

    `name` is the input of `{"inputs": {NAME: …}}`, None if the array is the only input.
    """

    signature: str
    form: str
    name: str | None
    start: int
    end: int


def number_inputs(body: bytes, dtypes_of: Callable[[str], Mapping[str, DType]]) -> PredictInputs | None:
    """The signature and the one input of a predict body.

    `dtypes_of` gives the dtypes of a signature's inputs, and may raise. Returns None if the body has to be read by the
    general reader.
    """
    envelope = _read_envelope(body)
    if envelope is None:
        return None
    if _FIRST_NUMBER.match(body, envelope.start) is None:
        return None
    span = (envelope.start, envelope.end)
    shape = _shape_of(_skeleton(body, span))
    if shape is None:
        return None
    ((name, dtype), *others) = dtypes_of(envelope.signature).items()
    if others or envelope.name not in {None, name} or not (dtype.is_floating or dtype.is_integer):
        return None
    numbers = _read_numbers(body, span, math.prod(shape), is_floating=dtype.is_floating)
    array = None if numbers is None else as_dtype(numbers.reshape(shape), dtype)
    return None if array is None else PredictInputs(envelope.signature, {name: array}, envelope.form == INSTANCES)


def number_row(body: bytes) -> bytes | None:
    """The numbers of a body `{"instances": [[…]]}`, which has one row of them, as float64 values.

    Returns None for any other body, and without simdjson. It takes half of the CPU time of reading the body with orjson
    and packing the numbers, which become Python objects there.
    """
    row = body.find(b"[", 0, _MAX_ROW_START)
    if (
        not body.startswith(b"[[", row)
        or simdjson is None
        or body.find(b"[", row + 2) >= 0
        or body.find(b":", body.find(b":") + 1) >= 0
    ):
        return None  # another list, or another key
    try:
        rows = _of_thread.parser.parse(body)[INSTANCES]
        return bytes(rows.as_buffer(of_type="d")) or None if len(rows) == 1 else None
    except (ValueError, TypeError, KeyError, RuntimeError):
        return None


def _read_envelope(body: bytes) -> _Envelope | None:
    """The envelope of a body with one array and at most a signature name; None for any other body.

    Such bodies are `{"instances": […]}`, `{"inputs": […]}` and `{"inputs": {NAME: […]}}`.
    """
    start, end = body.find(b"["), body.rfind(b"]") + 1
    if start < 0 or end <= start:
        return None
    around = body[:start] + _PLACEHOLDER + body[end:]  # not valid JSON if the brackets are in a string
    try:
        document = orjson.loads(around)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    keys = len(document)
    signature = document.pop(SIGNATURE_NAME, "")
    if list(document) not in ([INSTANCES], [INPUTS]) or not isinstance(signature, str):
        return None
    ((form, value),) = document.items()
    name = None
    if form == INPUTS and isinstance(value, dict) and len(value) == 1:
        ((name, value),) = value.items()
        keys += 1
    if value != "\0" or around.count(b":") != keys:  # a key may be repeated
        return None
    return _Envelope(signature, form, name, start, end)


def _skeleton(body: bytes, span: Span) -> bytes:
    """A part of a body without numbers and white space, made in pieces: other threads run between them."""
    start, end = span
    ends = [*range(start + _SKELETON_PIECE_BYTES, end, _SKELETON_PIECE_BYTES), end]
    starts = [start, *ends[:-1]]
    texts = (body[at:to].translate(None, _NUMBER_CHARACTERS) for at, to in zip(starts, ends, strict=True))
    return b"".join(list(yielding(texts)))


def _shape_of(skeleton: bytes) -> tuple[int, ...] | None:
    """The shape of the regular array with this skeleton; None if the lists are irregular or empty.

    Looks at the first list of each level, from the innermost to the whole array: between its brackets, the skeleton of
    its first element is repeated, with commas between. Numpy compares long texts without holding Python's lock, and
    bytes.find takes 0.1 ms longer to find the brackets at the end of an image.
    """
    rank = len(_BRACKETS.match(skeleton)[0])  # type: ignore[index] # it matches anything
    if not 0 < rank <= MAX_RANK:
        return None
    sizes: list[int] = []
    text, period = np.frombuffer(skeleton, np.uint8), 1  # the length of an element with its comma: a number has no text
    for start in range(rank, 0, -1):
        separators = text[start + period - 1 :: period]
        size = int((separators != _COMMA).argmax()) + 1 if len(separators) else 0
        end = start + size * period  # with the closing bracket
        if not size or text[end - 1] != _CLOSING:
            return None
        elements = text[start : end - 1]
        if size > 1 and not (elements[:-period] == elements[period:]).all():
            return None
        sizes.insert(0, size)
        period = end - start + 2  # with the opening bracket and a comma
    return tuple(sizes) if end == len(text) else None


def _read_numbers(body: bytes, span: Span, count: int, *, is_floating: bool) -> np.ndarray | None:
    """The `count` numbers in the nested lists of that span, as float64 or int64; None if they do not all fit."""
    start, end = span
    if simdjson is not None and end - start <= _MAX_SIMDJSON_BYTES:
        numbers = _with_simdjson(body[start:end], is_floating=is_floating)
        return numbers if numbers is not None and numbers.size == count else None
    return _in_pieces(body, span, count, is_floating=is_floating)


def _with_simdjson(text: bytes, *, is_floating: bool) -> np.ndarray | None:
    try:
        numbers = _of_thread.parser.parse(text).as_buffer(of_type="d" if is_floating else "i")
    except (ValueError, TypeError, RuntimeError):
        return None
    return np.frombuffer(numbers, np.float64 if is_floating else np.int64)


def _with_orjson(text: bytes, *, is_floating: bool) -> np.ndarray | None:
    try:
        numbers = np.asarray(orjson.loads(text))
    except (ValueError, OverflowError):  # an invalid number, or an empty place between two commas
        return None
    return numbers if numbers.dtype.kind in ("iuf" if is_floating else "i") else None  # u: past int64


def _in_pieces(body: bytes, span: Span, count: int, *, is_floating: bool) -> np.ndarray | None:
    array = np.empty(count, np.float64 if is_floating else np.int64)
    read = _with_orjson if simdjson is None else _with_simdjson
    done = 0
    for piece in _pieces(body, span):
        part = read(b"[%b]" % piece.translate(_BRACKETS_TO_SPACES), is_floating=is_floating)
        if part is None or done + part.size > count:
            return None
        array[done : done + part.size] = part
        done += part.size
        yield_to_loop()
    return array if done == count else None


_BRACKETS_TO_SPACES = bytes.maketrans(b"[]", b"  ")


def _pieces(body: bytes, span: Span) -> Iterator[bytes]:
    """A part of a body, cut at commas into pieces of about `_PIECE_BYTES`."""
    start, last = span
    while start < last:
        end = body.find(b",", start + _PIECE_BYTES, last)
        if end < 0:
            end = last
        yield body[start:end]
        start = end + 1
