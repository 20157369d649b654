"""Reads large predict bodies in pieces: other Python threads run in between, and the document never exists as a whole.

A body is cut at the commas between the elements of its large lists. If each piece is the inside of a valid list, so is the
whole: where a body is cut (`spans`) need not be trusted. What is rare (large values in unusual places) is left to `document`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import orjson

from tfsctl.core import dtypes
from tfsctl.core.dtypes import DType
from tfsctl.server.process.loop_yield import yield_to_loop
from tfsctl.server.process.string_arrays import StringParts
from tfsctl.server.rest.json import document as json_document
from tfsctl.server.rest.json.spans import BLOCK_BYTES, Span, UnusualError, elements, members, top_members
from tfsctl.server.rest.json.tensor import (
    INPUTS,
    INSTANCES,
    SIGNATURE_NAME,
    PredictInputs,
    inputs_from_document,
    is_row_object,
)
from tfsctl.server.status import ServingError, invalid_argument

_MAX_DEPTH = 8  # of large lists within large lists
_B64 = re.compile(rb'\{[ \n\r\t]*"b64"')
_OFFSET = re.compile(r"(JSON Parse error: .* at offset: )(\d+)", re.DOTALL)


def large_inputs(body: bytes, dtypes_of: Callable[[str], Mapping[str, DType]]) -> PredictInputs | None:
    """The signature and the inputs of a predict body.

    `dtypes_of` gives the dtypes of a signature's inputs, and may raise. Returns None if the body has to be read by the
    general reader. Raises INVALID_ARGUMENT for text that is no JSON.
    """
    try:
        values = top_members(body)
        forms = values.keys() & {INSTANCES, INPUTS}
        if len(forms) != 1 or values.keys() - forms - {SIGNATURE_NAME}:
            return None
        (form,) = forms
        signature = _signature(body, values)
        reader = _Reader(body)
        wanted = dtypes_of(signature)
        arrays = reader.rows(values[form], wanted) if form == INSTANCES else reader.columns(values[form], wanted)
    except UnusualError:
        return None
    return PredictInputs(signature, arrays, form == INSTANCES)


def large_examples(body: bytes) -> tuple[str, Iterator[list[Any]]] | None:
    """The signature that a classify or regress body asks for, and an iterator over lists of its examples.

    Returns None if the body has to be read by the general reader. The iterator raises INVALID_ARGUMENT for text that is
    no JSON.
    """
    try:
        values = top_members(body)
        if values.keys() - {SIGNATURE_NAME} != {"examples"} or body[values["examples"][0]] != ord("["):
            return None
        return _signature(body, values), _examples(body, values["examples"])
    except UnusualError:
        return None


def _examples(body: bytes, span: Span) -> Iterator[list[Any]]:
    for start, end in elements(body, span):
        yield _parse(body, "examples", (start, end))["examples"]


def _signature(body: bytes, values: Mapping[str, Span]) -> str:
    start, end = values.get(SIGNATURE_NAME, (0, 0))
    if end - start > BLOCK_BYTES:
        raise UnusualError
    name = orjson.loads(body[start:end]) if end else ""
    if not isinstance(name, str):
        raise UnusualError
    return name


class _Reader:
    """Reads the values of one body."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def rows(self, span: Span, wanted: Mapping[str, DType]) -> dict[str, np.ndarray]:
        """The inputs in a list of rows."""
        if self._body[span[0]] != ord("["):
            raise UnusualError
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
                raise UnusualError
            for name, array in arrays.items():
                parts[name].add(array)
        return {name: part.array() for name, part in parts.items()}

    def _large_row(self, span: Span, wanted: Mapping[str, DType]) -> dict[str, np.ndarray]:
        """A row that is a large list, or an object with one."""
        values = self._by_name(span, wanted)
        return {name: self._value(values[name], dtype, 1)[None] for name, dtype in wanted.items()}

    def columns(self, span: Span, wanted: Mapping[str, DType]) -> dict[str, np.ndarray]:
        """The inputs that are given whole."""
        values = self._by_name(span, wanted)
        return {name: self._value(values[name], dtype, 0) for name, dtype in wanted.items()}

    def _by_name(self, span: Span, wanted: Mapping[str, DType]) -> Mapping[str, Span]:
        """Where the values of all inputs are: in an object, or the value of the only input."""
        if self._body[span[0]] == ord("{"):
            values = members(self._body, span)
            if values.keys() == wanted.keys() and values.keys() != {"b64"}:
                return values
        elif len(wanted) == 1:
            return dict.fromkeys(wanted, span)
        raise UnusualError

    def _value(self, span: Span, dtype: DType, depth: int) -> np.ndarray:
        """One whole tensor."""
        if self._body[span[0]] != ord("[") or depth > _MAX_DEPTH:
            if self._is_cut(span):
                raise UnusualError
            document = {INPUTS: _parse(self._body, INPUTS, span)[INPUTS][0]}
            return self._arrays(document, span, {"": dtype})[""]
        parts = _Parts(dtype)
        for piece in elements(self._body, span):
            if self._is_cut(piece):
                parts.add(self._value(piece, dtype, depth + 1)[None])
            else:
                parts.add(self._arrays(_parse(self._body, INPUTS, piece), piece, {"": dtype})[""])
        return parts.array()

    def _is_cut(self, span: Span) -> bool:
        """Whether a piece is one large list or object. A large string cannot be cut."""
        start, end = span
        return end - start > 4 * BLOCK_BYTES and self._body[start] in b"[{" and not _B64.match(self._body, start)

    def _arrays(self, document: dict[str, Any], span: Span, wanted: Mapping[str, DType]) -> dict[str, np.ndarray]:
        """The inputs in a piece."""
        try:
            return inputs_from_document(document, wanted, self._body[span[0] : span[1]])[0]
        except ServingError as error:
            raise UnusualError from error  # its text is about the whole body


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
            raise UnusualError
        self._rows += len(array)
        if self._dtype is dtypes.STRING:
            self._strings.add_array(array)
        else:
            self._numbers.append(array)

    def array(self) -> np.ndarray:
        """The whole input."""
        if self._shape is None:
            raise UnusualError
        if self._dtype is dtypes.STRING:
            return self._strings.array().reshape(self._rows, *self._shape)
        array = np.empty((self._rows, *self._shape), self._dtype.numpy)
        parts, self._numbers, at = self._numbers[::-1], [], 0
        while parts:
            part = parts.pop()  # and free it: all of them at the end would take long
            array[at : at + len(part)] = part
            at += len(part)
            yield_to_loop()
        return array


def _parse(body: bytes, key: str, span: Span) -> dict[str, Any]:
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
