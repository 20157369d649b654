"""Request bodies as JSON documents, read as RapidJSON does for TensorFlow Serving.

TensorFlow Serving parses with kParseNanAndInfFlag and kParseStopWhenDoneFlag: bare NaN and Infinity pass, so does
anything after the first value, invalid UTF-8 and a byte-order mark; of duplicate keys the first wins. orjson reads
ordinary documents. Documents that orjson refuses, or that may hold duplicate keys, are read again by slower readers that
follow these rules. Text that is not UTF-8 is kept in `str` with surrogateescape.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from tfsctl.core.types import DEFAULT_SIGNATURE, Json
from tfsctl.server.rest.json.rapidjson_reader import WHITESPACE, RapidJsonReader, finite_float, int_or_float
from tfsctl.server.rest.json.text import DuplicateKeys
from tfsctl.server.status import invalid_argument

_KEY_ENDS = re.compile(rb'"[ \n\r\t]*:')
_INSTANCES = b'"instances"'
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
MAX_VALUES = 10_000_000  # each takes up to a hundred bytes as a Python object
MAX_CONTAINERS = 5_000_000  # each takes some hundred bytes, of two or three in the document
_MAX_EXACT_BYTES = 1024 * 1024  # the exact reader takes microseconds for each value
_NUMBER = re.compile(rb"[ \n\r\t]*[-0-9]")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BOM = re.compile(rb"\xef?\xbb?\xbf?")  # RapidJSON skips any of its bytes


def parse(body: bytes) -> Json:
    """The first JSON value of a request body. Raises INVALID_ARGUMENT in RapidJSON's words."""
    if (
        len(body) > MAX_CONTAINERS
        and body.count(b"[") + body.count(b"{") > MAX_CONTAINERS
        and not _is_all_brackets(body)
    ):
        raise invalid_argument(f"JSON Parse error: More than {MAX_CONTAINERS} lists and objects")
    if len(body) > 2 * MAX_VALUES and body.count(b",") >= MAX_VALUES and _count_values(body) > MAX_VALUES:
        raise invalid_argument(f"JSON Parse error: More than {MAX_VALUES} values")
    document = parse_plain(body)
    return parse_unusual(body) if document is None else document


def parse_plain(body: bytes) -> dict[str, Any] | None:
    """The object in an ordinary request body; None for any other body. Takes a few milliseconds for a megabyte."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    if body.find(b":", body.find(b":") + 1) < 0:  # at most one key; finding a byte takes a quarter of counting it
        return document
    colons = body.count(b":")
    if colons == len(document) or colons == (count := _count_keys(document)):
        return document
    # a key may be repeated, or a string holds a colon
    return document if len(_KEY_ENDS.findall(body)) == count else None


def plain_rows(body: bytes) -> tuple[str, list[Any]] | None:
    """The signature and the rows of a small body with nothing but `instances` and perhaps a signature; None for any other."""
    if _INSTANCES not in body:
        return None
    document = parse_plain(body)
    rows = None if document is None else document.get("instances")
    if document is None or not isinstance(rows, list) or not rows:
        return None
    if len(document) == 1:
        return DEFAULT_SIGNATURE, rows
    signature = document.get("signature_name")
    return (signature or DEFAULT_SIGNATURE, rows) if len(document) == 2 and isinstance(signature, str) else None


def _count_values(body: bytes) -> int:
    """About how many values a document has: one more than its commas outside of strings."""
    return 1 + _STRING.sub(b"", body).count(b",")


def _count_keys(document: dict[str, Any]) -> int:
    """The number of keys in the usual places of a request; less than the number of colons if a key is repeated or elsewhere."""
    count = len(document)
    for value in document.values():
        if isinstance(value, dict):
            count += len(value) + sum(len(v) for v in value.values() if isinstance(v, dict))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            count += sum(len(row) for row in value if isinstance(row, dict))
    return count


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        members.setdefault(key, value)
    return members if len(members) == len(pairs) else DuplicateKeys(members, pairs)


_lenient_decoder = json.JSONDecoder(object_pairs_hook=_first_wins, parse_float=finite_float, parse_int=int_or_float)


def parse_unusual(body: bytes) -> Json:
    """The first JSON value of a body that `parse_plain` cannot read. Raises INVALID_ARGUMENT in RapidJSON's words.

    It is read with the standard library where its rules are RapidJSON's, otherwise with the exact reader.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    byte_order_mark = _BOM.match(body)
    start = byte_order_mark.end() if byte_order_mark else 0
    failed_at = start
    # A NUL ends the document. Half a surrogate pair is an error, and so is `1e` or `1.`, which is a 1 and more text here.
    if b"\0" not in body and not _SURROGATE.search(body) and not _NUMBER.match(body, start):
        text = body[start:].decode("utf-8", "surrogateescape").lstrip(WHITESPACE)
        try:
            return _lenient_decoder.raw_decode(text)[0]
        except json.JSONDecodeError as error:
            failed_at += error.pos
        except (ValueError, RecursionError):
            pass
    if len(body) > _MAX_EXACT_BYTES and not _is_all_brackets(body):
        raise invalid_argument(f"JSON Parse error: Invalid value. at offset: {failed_at}")
    return RapidJsonReader(body, start).read()


def _is_all_brackets(body: bytes) -> bool:
    return not body.strip(b"[")
