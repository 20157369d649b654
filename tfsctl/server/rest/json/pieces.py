"""Reads large predict bodies in pieces: other Python threads run in between, and the document never exists as a whole.

A body is cut at the commas between the elements of its large lists. If each piece is the inside of a valid list, so is the
whole: where a body is cut need not be trusted. What is rare (large values in unusual places) is left to `document`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import orjson

from tfsctl.core import dtypes
from tfsctl.core.dtypes import DType
from tfsctl.server.process.string_arrays import StringParts
from tfsctl.server.rest.json import document as json_document
from tfsctl.server.rest.json.tensor import INPUTS, INSTANCES, SIGNATURE_NAME, inputs_from_document, is_row_object
from tfsctl.server.status import ServingError, invalid_argument

BLOCK_BYTES = 64 * 1024
"""About the size of a piece, in which no other thread runs."""
_MAX_MEMBERS = 1000  # of an object that is cut
_MAX_DEPTH = 8  # of large lists within large lists
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_KEY = re.compile(rb'[ \n\r\t]*("(?:[^"\\]|\\.)*")[ \n\r\t]*:[ \n\r\t]*')
_B64 = re.compile(rb'\{[ \n\r\t]*"b64"')
_WHITE_SPACE = b" \n\r\t"
_OFFSET = re.compile(r"(JSON Parse error: .* at offset: )(\d+)", re.DOTALL)
_Span = tuple[int, int]


class _UnusualError(Exception):
    """The body needs the general reader, or has an error that the general reader reports."""


def large_inputs(
    body: bytes, dtypes_of: Callable[[str], Mapping[str, DType]]
) -> tuple[str, dict[str, np.ndarray], bool] | None:
    """The signature that a predict body asks for, its inputs, and whether it was in row form.

    `dtypes_of` gives the dtypes of a signature's inputs, and may raise. Returns None if the body has to be read by the
    general reader. Raises INVALID_ARGUMENT for text that is no JSON.
    """
    try:
        values = _top_members(body)
        forms = values.keys() & {INSTANCES, INPUTS}
        if len(forms) != 1 or values.keys() - forms - {SIGNATURE_NAME}:
            return None
        (form,) = forms
        signature = _signature(body, values)
        reader = _Reader(body, form)
        wanted = dtypes_of(signature)
        arrays = reader.rows(values[form], wanted) if form == INSTANCES else reader.columns(values[form], wanted)
    except _UnusualError:
        return None
    return signature, arrays, form == INSTANCES


def large_examples(body: bytes) -> tuple[str, Iterator[list[Any]]] | None:
    """The signature that a classify or regress body asks for, and its examples, some at a time; None as above.

    While the examples are read, INVALID_ARGUMENT is raised for text that is no JSON.
    """
    try:
        values = _top_members(body)
        if values.keys() - {SIGNATURE_NAME} != {"examples"} or body[values["examples"][0]] != ord("["):
            return None
        return _signature(body, values), _examples(body, values["examples"])
    except _UnusualError:
        return None


def _examples(body: bytes, span: _Span) -> Iterator[list[Any]]:
    for start, end in elements(body, span):
        yield _parse(body, "examples", (start, end))["examples"]


def _signature(body: bytes, values: Mapping[str, _Span]) -> str:
    start, end = values.get(SIGNATURE_NAME, (0, 0))
    if end - start > BLOCK_BYTES:
        raise _UnusualError
    name = orjson.loads(body[start:end]) if end else ""
    if not isinstance(name, str):
        raise _UnusualError
    return name


class _Reader:
    """Reads the values of one body. `form` is the key that they belong to."""

    def __init__(self, body: bytes, form: str) -> None:
        self._body, self._form = body, form

    def rows(self, span: _Span, wanted: Mapping[str, DType]) -> dict[str, np.ndarray]:
        """The inputs in a list of rows."""
        if self._body[span[0]] != ord("["):
            raise _UnusualError
        parts = {name: _Parts(dtype) for name, dtype in wanted.items()}
        of_objects = len(wanted) != 1
        for index, (start, end) in enumerate(elements(self._body, span)):
            if self._is_cut((start, end)):
                arrays = self._large_row((start, end), wanted)
                is_object = self._body[start] == ord("{")
            else:
                document = _parse(self._body, INSTANCES, (start, end))
                is_object = bool(document[INSTANCES]) and is_row_object(document[INSTANCES][0])
                arrays = self._arrays(document, (start, end), wanted)
            of_objects = of_objects if index else is_object
            if is_object != of_objects:
                raise _UnusualError
            for name, array in arrays.items():
                parts[name].add(array)
        return {name: part.array() for name, part in parts.items()}

    def _large_row(self, span: _Span, wanted: Mapping[str, DType]) -> dict[str, np.ndarray]:
        """A row that is a large list, or an object with one."""
        if self._body[span[0]] == ord("{"):
            values = members(self._body, span)
            if values.keys() != wanted.keys():
                raise _UnusualError
        elif len(wanted) == 1:
            values = dict.fromkeys(wanted, span)
        else:
            raise _UnusualError
        return {name: self._value(values[name], dtype, 1)[None] for name, dtype in wanted.items()}

    def columns(self, span: _Span, wanted: Mapping[str, DType]) -> dict[str, np.ndarray]:
        """The inputs that are given whole."""
        if self._body[span[0]] == ord("{"):
            values = members(self._body, span)
            if values.keys() != wanted.keys() or values.keys() == {"b64"}:
                raise _UnusualError
        elif len(wanted) == 1:
            values = dict.fromkeys(wanted, span)
        else:
            raise _UnusualError
        return {name: self._value(values[name], dtype, 0) for name, dtype in wanted.items()}

    def _value(self, span: _Span, dtype: DType, depth: int) -> np.ndarray:
        """One whole tensor."""
        if self._body[span[0]] != ord("[") or depth > _MAX_DEPTH:
            if self._is_cut(span):
                raise _UnusualError
            document = {INPUTS: _parse(self._body, INPUTS, span)[INPUTS][0]}
            return self._arrays(document, span, {"": dtype})[""]
        parts = _Parts(dtype)
        for piece in elements(self._body, span):
            if self._is_cut(piece):
                parts.add(self._value(piece, dtype, depth + 1)[None])
            else:
                parts.add(self._arrays(_parse(self._body, INPUTS, piece), piece, {"": dtype})[""])
        return parts.array()

    def _is_cut(self, span: _Span) -> bool:
        """Whether a piece is one large list or object. A large string cannot be cut."""
        start, end = span
        return end - start > 4 * BLOCK_BYTES and self._body[start] in b"[{" and not _B64.match(self._body, start)

    def _arrays(self, document: dict[str, Any], span: _Span, wanted: Mapping[str, DType]) -> dict[str, np.ndarray]:
        """The inputs in a piece."""
        try:
            return inputs_from_document(document, wanted, self._body[span[0] : span[1]])[0]
        except ServingError as error:
            raise _UnusualError from error  # its text is about the whole body


class _Parts:
    """The pieces of one input."""

    def __init__(self, dtype: DType) -> None:
        self._dtype = dtype
        self._shape: tuple[int, ...] | None = None
        self._numbers: list[np.ndarray] = []
        self._strings = StringParts()
        self._rows = 0

    def add(self, array: np.ndarray) -> None:
        """Append rows, which must have the shape of the others."""
        if self._shape is None:
            self._shape = array.shape[1:]
        if array.shape[1:] != self._shape:
            raise _UnusualError
        self._rows += len(array)
        if self._dtype is dtypes.STRING:
            self._strings.add_array(array)
        else:
            self._numbers.append(array)

    def array(self) -> np.ndarray:
        """The whole input."""
        if self._shape is None:
            raise _UnusualError
        if self._dtype is dtypes.STRING:
            return self._strings.array().reshape(self._rows, *self._shape)
        return np.concatenate(self._numbers)


# ---- where values are ----
def _top_members(body: bytes) -> dict[str, _Span]:
    start = len(body) - len(body.lstrip(_WHITE_SPACE)) if body[:1] in (b" ", b"\n", b"\r", b"\t") else 0
    end = len(body)
    while end and body[end - 1] in _WHITE_SPACE:
        end -= 1
    return members(body, (start, end))


def members(body: bytes, span: _Span) -> dict[str, _Span]:
    """Where the values of an object are, by key."""
    values: dict[str, _Span] = {}
    start, end = span
    if body[start : start + 1] != b"{":
        raise _UnusualError
    cuts = [start]
    for commas in _commas(body, start, end):
        cuts += commas.tolist()
        if len(cuts) > _MAX_MEMBERS:
            raise _UnusualError
    for begin, stop in pairwise([*cuts, end - 1]):
        match = _KEY.match(body, begin + 1, stop)
        if match is None:
            raise _UnusualError
        try:
            key = orjson.loads(match[1])
        except orjson.JSONDecodeError:
            raise _UnusualError from None
        if key in values:
            raise _UnusualError
        values[key] = _stripped(body, match.end(), stop)
    return values


def elements(body: bytes, span: _Span) -> Iterator[_Span]:
    """Where pieces of a list are, each with some elements. An element of several blocks is a piece of its own."""
    last, end = span
    begin = last + 1
    for commas in _commas(body, last, end):
        first = int(commas[0])
        if first - last > BLOCK_BYTES:
            if last > begin:
                yield _stripped(body, begin, last)
                begin = last + 1
            yield _stripped(body, begin, first)
            begin = first + 1
        last = int(commas[-1])
        if last - begin > BLOCK_BYTES // 2:
            yield _stripped(body, begin, last)
            begin = last + 1
    if end - last > BLOCK_BYTES and last > begin:
        yield _stripped(body, begin, last)
        begin = last + 1
    yield _stripped(body, begin, end - 1)


def _stripped(body: bytes, start: int, end: int) -> _Span:
    """A part of the text without white space around it. Raises _UnusualError if nothing is left, or there is too much."""
    for _ in range(BLOCK_BYTES):
        if start < end and body[start] in _WHITE_SPACE:
            start += 1
        elif start < end and body[end - 1] in _WHITE_SPACE:
            end -= 1
        elif start < end:
            return start, end
    raise _UnusualError


def _commas(body: bytes, start: int, end: int) -> Iterator[np.ndarray]:
    """The commas between the elements of the list or the members of the object at a place, block by block.

    Raises _UnusualError unless it ends at `end`, and INVALID_ARGUMENT if it has no end.
    """
    at, depth, in_string = start, 0, 0
    while at < end:
        block = body[at : min(end, at + BLOCK_BYTES)]
        if block.endswith(b"\\") and (len(block) - len(block.rstrip(b"\\"))) % 2:
            block = body[at : at + len(block) + 1]
        plain = _ESCAPE.sub(b"  ", block) if b"\\" in block else block
        data = np.frombuffer(plain, np.uint8)
        inside = np.cumsum(data == ord('"'), dtype=np.int32) + in_string & 1
        in_string = int(inside[-1])
        brackets = np.where(inside, 0, data | 0x20)  # [ and ] differ from { and } by this bit
        depths = np.cumsum((brackets == ord("{")).view(np.int8) - (brackets == ord("}")).view(np.int8), dtype=np.int32)
        depths += depth
        depth = int(depths[-1])
        if not depths.all() and at + int(np.argmin(depths != 0)) != end - 1:
            raise _UnusualError
        commas = np.flatnonzero((data == ord(",")) & (depths == 1) & (inside == 0))
        if commas.size:
            yield commas + at
        at += len(block)
    if depth or in_string:
        raise invalid_argument(f"JSON Parse error: Invalid value. at offset: {end}")


def _parse(body: bytes, key: str, span: _Span) -> dict[str, Any]:
    """The document of an object with the inside of a list under a key. Raises INVALID_ARGUMENT if it is no JSON."""
    head = f'{{"{key}":['.encode()
    try:
        document: dict[str, Any] = json_document.parse(b"%b%b]}" % (head, body[span[0] : span[1]]))
    except ServingError as error:
        match = _OFFSET.fullmatch(error.message)
        if match is None:
            raise
        raise invalid_argument(f"{match[1]}{int(match[2]) - len(head) + span[0]}") from None
    return document
