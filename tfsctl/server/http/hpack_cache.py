"""Header blocks of HTTP/2 requests, decoded and checked (RFC 7541 by `hpack`; RFC 9113, sections 8.2 and 8.3).

A client repeats its header blocks, most often a few bytes of indices. While the dynamic table behind them has not
changed they mean the same, so the decoded heads are cached by the block's bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError

from tfsctl.server.http.frames import ConnectionFailedError, ErrorCode
from tfsctl.server.http.request_head import (
    MAX_LENGTH_DIGITS,
    RequestHead,
    is_host,
    is_method,
    is_scheme,
    is_target,
)

_MAX_BLOCKS, _MAX_CACHED_BYTES = 64, 1024  # cached by each connection, and the largest of them
_NO_PSEUDO_IN_TRAILERS = "trailers have no pseudo-headers"
_SIZE_UPDATE, _SIZE_UPDATE_MASK = 0x20, 0xE0  # the first bits of a block that changes the table's size
_MANY_SIZE_UPDATES = re.compile(rb"(?:[\x20-\x3e]|\x3f[\x80-\xff]*[\x00-\x7f]){17}")  # two are enough (RFC 7541, 4.2)
_PSEUDO = {b":method": is_method, b":path": is_target, b":scheme": is_scheme, b":authority": is_host}
_REQUIRED = {b":method", b":path", b":scheme"}
_HTTP1_FIELDS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_FORBIDDEN_NAME_BYTES = (
    frozenset(range(0x21)) | frozenset(range(0x41, 0x5B)) | frozenset(range(0x7F, 0x100)) | {ord(":")}
)

Headers = list[tuple[bytes, bytes]]


class MalformedRequestError(Exception):
    """A header block that can be decoded, but is not a valid request (RFC 9113, section 8.1.1): a stream error."""

    def __init__(self, reason: str, code: ErrorCode) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class _Malformed:
    """Why a header block is not a valid request: the cached form of MalformedRequestError."""

    reason: str
    code: ErrorCode = ErrorCode.PROTOCOL_ERROR


class HeaderBlockReader:
    """Reads the header blocks of one connection, in the order they arrive."""

    def __init__(self, max_bytes: int, max_count: int, *, cache_heads: bool = True) -> None:
        self._decoder = Decoder(max_header_list_size=max_bytes)
        self._max_count = max_count
        self._table = self._decoder.header_table.dynamic_entries
        self._cache_heads = cache_heads
        self._parse_head = _cached_head if cache_heads else _parse_head
        self._cache: dict[bytes, RequestHead | _Malformed] = {}

    def read(self, block: bytes) -> RequestHead:
        """The head in a block. Raises MalformedRequestError, or ConnectionFailedError if it cannot be decoded."""
        head = self._cache.get(block)
        if head is None:
            head = self._decode_head(block)
        if isinstance(head, _Malformed):
            raise MalformedRequestError(head.reason, head.code)
        return head

    def _decode_head(self, block: bytes) -> RequestHead | _Malformed:
        """Decode a block that is not cached, and cache it unless it changes the dynamic table."""
        table = self._table
        size, newest = len(table), table[0] if table else None
        fields = self._decode(block)
        head: RequestHead | _Malformed
        if len(fields) > self._max_count:
            head = _Malformed("too many headers", ErrorCode.ENHANCE_YOUR_CALM)
        elif len(block) > _MAX_CACHED_BYTES:
            head = _parse_head(tuple(fields))
        else:
            head = self._parse_head(tuple(fields))
        is_update = block[:1] != b"" and block[0] & _SIZE_UPDATE_MASK == _SIZE_UPDATE
        if is_update or len(table) != size or (table and table[0] is not newest):
            self._cache.clear()  # indices now mean something else
            return head
        if len(self._cache) >= _MAX_BLOCKS:
            self._cache.clear()
        if self._cache_heads and len(block) <= _MAX_CACHED_BYTES:
            self._cache[block] = head
        return head

    def read_trailers(self, block: bytes) -> str:
        """Why a block cannot be trailers; "" if it can. Raises ConnectionFailedError if it cannot be decoded."""
        if block in self._cache:
            return _NO_PSEUDO_IN_TRAILERS
        self._cache.clear()  # the table may have changed
        for name, value in self._decode(block):
            if name[:1] == b":":
                return _NO_PSEUDO_IN_TRAILERS
            if reason := _field_error(name, value):
                return reason
        return ""

    def _decode(self, block: bytes) -> Headers:
        if _MANY_SIZE_UPDATES.match(block):
            raise ConnectionFailedError(ErrorCode.COMPRESSION_ERROR, "too many changes of the table's size")
        try:
            return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError:
            raise ConnectionFailedError(ErrorCode.ENHANCE_YOUR_CALM, "too many headers") from None
        except (HPACKError, IndexError, ValueError, OverflowError):
            raise ConnectionFailedError(ErrorCode.COMPRESSION_ERROR, "a header block cannot be decoded") from None


def _parse_head(pairs: tuple[tuple[bytes, bytes], ...]) -> RequestHead | _Malformed:
    """The head in decoded fields: valid pseudo-headers first, then valid fields (RFC 9113, sections 8.2 and 8.3)."""
    pseudo: dict[bytes, bytes] = {}
    headers: Headers = []
    for name, value in pairs:
        if name[:1] == b":":
            if headers or name not in _PSEUDO or name in pseudo:
                return _Malformed(f"the pseudo-header {name!r} does not belong there")
            if not _PSEUDO[name](value):
                return _Malformed(f"{value!r} cannot be a {name.decode()}")
            pseudo[name] = value
        elif reason := _field_error(name, value):
            return _Malformed(reason)
        else:
            headers.append((name, value))
    if not pseudo.keys() >= _REQUIRED:  # CONNECT has neither path nor scheme, and is not served
        return _Malformed("a request has a :method, a :path and a :scheme")
    lengths = {value for name, value in headers if name == b"content-length"}
    if len(lengths) > 1 or not all(value.isdigit() and len(value) <= MAX_LENGTH_DIGITS for value in lengths):
        return _Malformed("content-length is not a number")
    if [name for name, _ in headers].count(b"host") > 1:
        return _Malformed("more than one host")
    length = int(next(iter(lengths))) if lengths else None
    return RequestHead(
        pseudo[b":method"].decode("latin-1"),
        pseudo[b":path"].decode("latin-1"),
        MappingProxyType(dict(headers)),
        length,
    )


_cached_head = lru_cache(256)(_parse_head)


def _field_error(name: bytes, value: bytes) -> str:
    """The error in a header field; empty if it is valid."""
    if not name or not _FORBIDDEN_NAME_BYTES.isdisjoint(name):
        return f"{name!r} is not a field name"
    if name in _HTTP1_FIELDS or (name == b"te" and value != b"trailers"):
        return f"{name!r} belongs to HTTP/1.1"
    if b"\0" in value or b"\r" in value or b"\n" in value or value != value.strip(b" \t"):
        return f"{value!r} cannot be the value of {name!r}"
    if name == b"host" and not is_host(value):
        return f"{value!r} cannot be a host"
    return ""
