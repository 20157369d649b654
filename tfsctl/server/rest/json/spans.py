"""Finds where the values of a large JSON text are, without reading them: blocks of 64 KiB are searched by numpy.

A span is a pair of offsets: of the first byte of a value, and of the byte after its last one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import orjson

from tfsctl.server.process.loop_yield import yield_to_loop
from tfsctl.server.status import invalid_argument

BLOCK_BYTES = 64 * 1024
"""About the size of a piece, in which no other thread runs."""
_MAX_MEMBERS = 1000  # of an object that is cut
_KEY = re.compile(rb'[ \n\r\t]*("(?:[^"\\]|\\.)*")[ \n\r\t]*:[ \n\r\t]*')
_WHITE_SPACE = b" \n\r\t"
Span = tuple[int, int]


class UnusualError(Exception):
    """The body needs the general reader, or has an error that the general reader reports."""


def top_members(body: bytes) -> dict[str, Span]:
    """Where the values of a body's top-level object are, by key. Raises like `members`."""
    return members(body, _stripped(body, 0, len(body)))


def members(body: bytes, span: Span) -> dict[str, Span]:
    """Where the values of an object are, by key.

    Raises UnusualError for anything else than an object of up to 1,000 members with different keys, and INVALID_ARGUMENT
    if it has no end.
    """
    values: dict[str, Span] = {}
    start, end = span
    if body[start : start + 1] != b"{":
        raise UnusualError
    cuts = [start]
    for commas in _commas(body, start, end):
        cuts += commas.tolist()
        if len(cuts) > _MAX_MEMBERS:
            raise UnusualError
    for begin, stop in pairwise([*cuts, end - 1]):
        match = _KEY.match(body, begin + 1, stop)
        if match is None:
            raise UnusualError
        try:
            key = orjson.loads(match[1])
        except orjson.JSONDecodeError:
            raise UnusualError from None
        if key in values:
            raise UnusualError
        values[key] = _stripped(body, match.end(), stop)
    return values


def elements(body: bytes, span: Span) -> Iterator[Span]:
    """Where pieces of a list are, each with some elements. An element of several blocks is a piece of its own.

    Raises UnusualError if an element is missing, and INVALID_ARGUMENT if the list has no end.
    """
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


def _stripped(body: bytes, start: int, end: int) -> Span:
    """A part of the text without white space around it. Raises UnusualError if nothing is left, or there is too much."""
    for _ in range(BLOCK_BYTES):
        if start < end and body[start] in _WHITE_SPACE:
            start += 1
        elif start < end and body[end - 1] in _WHITE_SPACE:
            end -= 1
        elif start < end:
            return start, end
    raise UnusualError


def _commas(body: bytes, start: int, end: int) -> Iterator[np.ndarray]:
    """The commas between the elements of the list or the members of the object at a place, block by block.

    Raises UnusualError unless it ends at `end`, and INVALID_ARGUMENT if it has no end.
    """
    at, depth, in_string = start, 0, 0
    while at < end:
        block = body[at : min(end, at + BLOCK_BYTES)]
        if block.endswith(b"\\") and (len(block) - len(block.rstrip(b"\\"))) % 2:
            block = body[at : at + len(block) + 1]
        plain = block.replace(b"\\\\", b"  ").replace(b'\\"', b"  ") if b"\\" in block else block
        data = np.frombuffer(plain, np.uint8)
        inside = np.cumsum(data == ord('"'), dtype=np.int32) + in_string & 1
        in_string = int(inside[-1])
        brackets = np.where(inside, 0, data | 0x20)  # [ and ] differ from { and } by this bit
        depths = np.cumsum((brackets == ord("{")).view(np.int8) - (brackets == ord("}")).view(np.int8), dtype=np.int32)
        depths += depth
        depth = int(depths[-1])
        if not depths.all() and at + int(np.argmin(depths != 0)) != end - 1:
            raise UnusualError
        commas = np.flatnonzero((data == ord(",")) & (depths == 1) & (inside == 0))
        if commas.size:
            yield commas + at
        at += len(block)
        yield_to_loop()
    if depth or in_string:
        raise invalid_argument(f"JSON Parse error: Invalid value. at offset: {end}")
