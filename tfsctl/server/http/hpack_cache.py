"""Header blocks of HTTP/2 requests, decoded and checked (RFC 7541 by `hpack`; RFC 9113, section 8.2 and 8.3).

A client that asks the same again sends the same block again, most often a few bytes of indices. While the table behind
them has not changed it means the same again, and is not decoded anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import unquote

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError

from tfsctl.server.http.frames import ConnectionFailedError, ErrorCode

MAX_HEADER_LIST_BYTES = 64 * 1024
_KNOWN_BLOCKS = 64
_LONGEST_LENGTH = 19  # digits
_NO_TRAILERS = "trailers have no pseudo-headers"
_SIZE_UPDATE, _SIZE_UPDATE_MASK = 0x20, 0xE0  # the first bits of a block that changes the table's size

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Head:
    """A request's head: what its pseudo-headers and headers say. `error` is why it is malformed, or empty."""

    method: str = ""
    target: str = ""
    path: str = ""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    length: int | None = None
    """The Content-Length."""
    error: str = ""


class HeadReader:
    """Reads the header blocks of one connection, in the order they came."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=MAX_HEADER_LIST_BYTES)
        self._table = self._decoder.header_table.dynamic_entries
        self._known: dict[bytes, Head] = {}

    def read(self, block: bytes) -> Head:
        """The head that a block means. Raises ConnectionFailedError for one that cannot be decoded."""
        known = self._known.get(block)
        if known is not None:
            return known
        table = self._table
        size, newest = len(table), table[0] if table else None
        read = _head(tuple(self._decode(block)))
        is_update = block[:1] != b"" and block[0] & _SIZE_UPDATE_MASK == _SIZE_UPDATE
        if is_update or len(table) != size or (table and table[0] is not newest):
            self._known.clear()  # indices now mean something else
            return read
        if len(self._known) >= _KNOWN_BLOCKS:
            self._known.clear()
        self._known[block] = read
        return read

    def read_trailers(self, block: bytes) -> str:
        """Why a block cannot be trailers, or nothing. Raises ConnectionFailedError for one that cannot be decoded."""
        if block in self._known:
            return _NO_TRAILERS
        self._known.clear()  # the table may have changed
        for name, value in self._decode(block):
            if name[:1] == b":":
                return _NO_TRAILERS
            if (why := _why_not(name, value)) is not None:
                return why
        return ""

    def _decode(self, block: bytes) -> Headers:
        try:
            return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError:
            raise ConnectionFailedError(ErrorCode.ENHANCE_YOUR_CALM, "too many headers") from None
        except (HPACKError, IndexError, ValueError, OverflowError):
            raise ConnectionFailedError(ErrorCode.COMPRESSION_ERROR, "a header block cannot be decoded") from None


@lru_cache(256)
def _head(pairs: tuple[tuple[bytes, bytes], ...]) -> Head:
    pseudo: dict[bytes, bytes] = {}
    headers: Headers = []
    for name, value in pairs:
        if name[:1] == b":":
            if headers or name not in _PSEUDO or name in pseudo:
                return Head(error=f"the pseudo-header {name!r} does not belong there")
            pseudo[name] = value
            continue
        if (why := _why_not(name, value)) is not None:
            return Head(error=why)
        headers.append((name, value))
    method, target, scheme = pseudo.get(b":method"), pseudo.get(b":path"), pseudo.get(b":scheme")
    if not method or not target or not scheme:  # CONNECT has neither path nor scheme, and is not for us
        return Head(error="a request has a :method, a :path and a :scheme")
    lengths = {value for name, value in headers if name == b"content-length"}
    if len(lengths) > 1 or not all(value.isdigit() and len(value) <= _LONGEST_LENGTH for value in lengths):
        return Head(error="content-length is no number")
    length = int(next(iter(lengths))) if lengths else None
    text = target.decode("latin-1")
    return Head(method.decode("latin-1"), text, path_of(text), MappingProxyType(dict(headers)), length)


_PSEUDO = frozenset((b":method", b":path", b":scheme", b":authority"))
_OF_CONNECTIONS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_NOT_IN_NAMES = frozenset(range(0x21)) | frozenset(range(0x41, 0x5B)) | frozenset(range(0x7F, 0x100)) | {ord(":")}


def _why_not(name: bytes, value: bytes) -> str | None:
    """What is wrong with a header, or None."""
    if not name or not _NOT_IN_NAMES.isdisjoint(name):
        return f"{name!r} is no header's name"
    if name in _OF_CONNECTIONS or (name == b"te" and value != b"trailers"):
        return f"{name!r} belongs to HTTP/1.1"
    if b"\0" in value or b"\r" in value or b"\n" in value or value != value.strip(b" \t"):
        return f"the value of {name!r} is none"
    return None


def path_of(target: str) -> str:
    """The path of a request's target, escapes undone."""
    path = target.partition("?")[0]
    return unquote(path) if "%" in path else path
