"""Heads of HTTP/1.1 requests that came before: clients that ask often ask in the same words, which need no parsing again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tfsctl.server.http.exchange import Exchange

VERSION = "1.1"
_END = b"\r\n\r\n"
_LONGEST, _MANY = 1024, 1024


@dataclass(frozen=True, slots=True)
class Head:
    """What a head says, and how many bytes the body after it has."""

    method: str
    target: str
    path: str
    headers: Mapping[bytes, bytes]
    length: int


_known: dict[bytes, Head] = {}


def find(data: bytes) -> tuple[Head, bytes] | None:
    """The head and the body of data that is one whole request with a known head; None for any other."""
    end = data.find(_END) + len(_END)
    head = _known.get(data[:end])
    return (head, data[end:]) if head is not None and head.length == len(data) - end else None


def keep(data: bytes, request: Exchange) -> None:
    """Know the head of a request from now on, if the request is all there is in the data it was read from."""
    end = data.find(_END) + len(_END)
    length = len(data) - end
    if end <= _LONGEST and request.has_all and request.headers.get(b"content-length", b"0") == b"%d" % length:
        if len(_known) >= _MANY:
            _known.clear()
        _known[data[:end]] = Head(request.method, request.target, request.path, request.headers, length)
