"""A cache of parsed HTTP/1.1 request heads: clients repeat them byte by byte, and parsing them costs microseconds.

Only for data that begins a request: a connection that waits for the rest of a body must not ask here.
"""

from __future__ import annotations

from tfsctl.server.http.http1_parser import HEAD_END
from tfsctl.server.http.request_head import RequestHead

_MAX_HEAD_BYTES, _MAX_HEADS = 1024, 1024
_heads: dict[bytes, RequestHead] = {}


def find(data: bytes) -> tuple[RequestHead, bytes] | None:
    """The head and the body if the data is exactly one request whose head was seen before; None otherwise."""
    end = data.find(HEAD_END) + len(HEAD_END)
    head = _heads.get(data[:end])
    return (head, data[end:]) if head is not None and (head.length or 0) == len(data) - end else None


def keep(raw: bytes, head: RequestHead) -> None:
    """Remember a head by its bytes, if it is a plain one: HTTP/1.1, not chunked, and the connection stays open after it."""
    if len(raw) > _MAX_HEAD_BYTES or head.is_chunked or head.is_http_1_0 or not head.keeps_alive:
        return
    if b"expect" in head.headers:
        return
    if len(_heads) >= _MAX_HEADS:
        _heads.clear()
    _heads[raw] = head
