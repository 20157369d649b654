"""Parses HTTP/1.1 and HTTP/1.0 requests (RFC 9112), strictly: requests that two servers could read differently are refused.

Refused on purpose, though libevent (TensorFlow Serving) takes some of it: lines that end with a line feed alone, folded
header lines, `Transfer-Encoding` other than `chunked` alone, a length together with chunks, two lengths, and blanks anywhere
but around a field's value. `docs/security-and-limits.md` lists them.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from types import MappingProxyType

from tfsctl.server.http.request_head import MAX_LENGTH_DIGITS, RequestHead, is_host_and_port
from tfsctl.server.limits import KIB, MAX_MESSAGE_BYTES, Limits

HEAD_END = b"\r\n\r\n"
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([^\x00-\x20\x7f]+) HTTP/(\d)\.(\d)")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)", re.IGNORECASE)  # a target as a proxy gets it, and its host
_FIELDS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*")
_NOT_A_METHOD = re.compile(rb"[^!#$%&'*+\-.^_`|~0-9A-Za-z \r\n]")
_LONE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})((?:;[\t\x20-\x7e\x80-\xff]*)?)\r\n")
_PARTIAL_CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]{0,15}(?:(?<=[0-9A-Fa-f]);[\t\x20-\x7e\x80-\xff]*)?\r?")
_ONCE = frozenset((b"host", b"content-length", b"transfer-encoding"))  # fields that a request may have only once
_TOO_LARGE = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
_MAX_CHUNK_LINE_BYTES = 4 * KIB
_MAX_EXTENSION_BYTES = 16 * KIB  # of all chunks of a body
_MAX_EMPTY_LINES = 8  # before a request line: some clients send one after a body
_CHUNKS_PER_TURN = 1000


class BadRequestError(Exception):
    """The bytes are not a request that this server accepts; `status` is the answer, after which the connection closes."""

    def __init__(self, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(status.phrase)
        self.status = status


def head_end(data: bytes | bytearray, searched: int, limits: Limits) -> int:
    """Where the head at the beginning of `data` ends; 0 if its end has not arrived.

    `searched` bytes were looked at before. Raises BadRequestError as soon as the bytes cannot become a head.
    """
    end = data.find(HEAD_END, max(0, searched - 3))
    upto = len(data) if end < 0 else end
    if upto > limits.max_header_bytes + 8 * limits.max_header_count:
        too_long = b"\n" not in data[: limits.max_header_bytes]
        raise BadRequestError(HTTPStatus.REQUEST_URI_TOO_LONG if too_long else _TOO_LARGE)
    if end >= 0:
        return end + len(HEAD_END)
    if _LONE_LINE_FEED.search(data, max(0, searched - 1)) or (not searched and _NOT_A_METHOD.match(data)):
        raise BadRequestError
    return 0


def without_empty_lines(data: bytes) -> bytes:
    """The data without the empty lines that may come before a request. Raises BadRequestError for very many of them."""
    for _ in range(_MAX_EMPTY_LINES):
        if not data.startswith(b"\r\n"):
            return data
        data = data[2:]
    raise BadRequestError


def parse_head(head: bytes, limits: Limits) -> RequestHead:
    """Read a head, which ends with an empty line. Raises BadRequestError."""
    line_end = head.find(b"\r\n")
    match = _REQUEST_LINE.fullmatch(head, 0, line_end)
    if match is None:
        raise BadRequestError
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in b"01":
        raise BadRequestError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    if target[:1] != b"/" and not _has_valid_host(target):
        raise BadRequestError
    if not _FIELDS.fullmatch(head, line_end + 2, len(head) - 2):
        raise BadRequestError
    lines = head[line_end + 2 : -4].split(b"\r\n") if len(head) > line_end + 4 else []
    if len(lines) > limits.max_header_count or len(head) > limits.max_header_bytes:
        raise BadRequestError(_TOO_LARGE)
    is_old = minor == b"0"
    headers = _read_fields(lines, is_old=is_old)
    length, is_chunked = _framing(headers, is_old=is_old)
    connection = headers.get(b"connection", b"").lower()
    keeps_alive = b"keep-alive" in connection if is_old else True
    if b"close" in connection or method == b"CONNECT":
        keeps_alive = False
    return RequestHead(
        method.decode("ascii"),
        target.decode("latin-1"),
        MappingProxyType(headers),
        length,
        is_chunked,
        keeps_alive,
        is_old,
    )


def _has_valid_host(target: bytes) -> bool:
    """Whether a target is no http URL, or one with a host and no user name (RFC 9110, section 4.2)."""
    url = _ABSOLUTE.match(target)
    return url is None or (url[1][:1] not in (b"", b":") and is_host_and_port(url[1]) is not None)


def _read_fields(lines: list[bytes], *, is_old: bool) -> dict[bytes, bytes]:
    """The header fields in valid lines, names in lower case. Raises BadRequestError without a valid Host (HTTP/1.1)."""
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in headers and name in _ONCE:
            raise BadRequestError
        value = value.strip(b" \t")
        headers[name] = b"%b, %b" % (headers[name], value) if name == b"connection" and name in headers else value
    host = headers.get(b"host", b"" if is_old else None)
    if host is None or not is_host_and_port(host):
        raise BadRequestError
    return headers


def _framing(headers: dict[bytes, bytes], *, is_old: bool) -> tuple[int | None, bool]:
    """How long the body is: the Content-Length, and whether it is chunked. Raises BadRequestError."""
    length, coding = headers.get(b"content-length"), headers.get(b"transfer-encoding")
    if coding is not None:
        if length is not None or is_old:
            raise BadRequestError
        if coding.lower() != b"chunked":
            raise BadRequestError(HTTPStatus.NOT_IMPLEMENTED)
        return None, True
    if length is None:
        return None, False
    if not length.isdigit() or len(length) > MAX_LENGTH_DIGITS:
        raise BadRequestError
    return int(length), False


class ChunkDecoder:
    """Decodes one chunked body (RFC 9112, section 7.1). Trailer fields are checked and dropped."""

    __slots__ = ("_extensions", "_in_trailers", "_left", "_limits", "_trailers", "is_complete")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = 0  # bytes of the current chunk, with the line end after it, that have not arrived
        self._extensions = 0  # bytes
        self._trailers = 0  # bytes
        self._in_trailers = False
        self.is_complete = False

    def decode(self, data: bytes) -> tuple[list[bytes], int, bool]:
        """The parts of the body in `data`, how many bytes of `data` were read, and whether to go on in another turn.

        Bytes that were not read have to come again, with those that follow. Raises BadRequestError.
        """
        parts: list[bytes] = []
        at, size = 0, len(data)
        for _ in range(_CHUNKS_PER_TURN):
            if self._left > 2:
                part = data[at : at + self._left - 2]
                parts.append(part)
                at += len(part)
                self._left -= len(part)
            if self._left:
                if self._left > 2 or size - at < 2:
                    return parts, at, False
                if data[at : at + 2] != b"\r\n":
                    raise BadRequestError
                at, self._left = at + 2, 0
            if self._in_trailers:
                at = self._read_trailers(data, at)
                return parts, at, False
            match = _CHUNK_SIZE.match(data, at)
            if match is None:
                self._check_partial_line(data, at)
                return parts, at, False
            self._extensions += len(match[2])
            if self._extensions > _MAX_EXTENSION_BYTES or match.end() - at > _MAX_CHUNK_LINE_BYTES:
                raise BadRequestError
            at = match.end()
            chunk = int(match[1], 16)
            if chunk > MAX_MESSAGE_BYTES:
                raise BadRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            if chunk:
                self._left = chunk + 2
            else:
                self._in_trailers = True
        return parts, at, True

    def _check_partial_line(self, data: bytes, at: int) -> None:
        """Refuse a chunk's size line, whose end is not there, if it cannot become one."""
        if len(data) - at > _MAX_CHUNK_LINE_BYTES or b"\n" in data[at:] or not _PARTIAL_CHUNK_LINE.fullmatch(data, at):
            raise BadRequestError

    def _read_trailers(self, data: bytes, at: int) -> int:
        """Read trailer lines, up to the empty one that ends the body; returns how far."""
        while (end := data.find(b"\n", at)) >= 0:
            line = data[at : end + 1]
            if line == b"\r\n":
                self.is_complete = True
                return end + 1
            self._count_trailer(len(line))
            if not _FIELDS.fullmatch(line):
                raise BadRequestError
            at = end + 1
        if len(data) - at > self._limits.max_header_bytes:
            raise BadRequestError(_TOO_LARGE)
        return at

    def _count_trailer(self, size: int) -> None:
        self._trailers += size + 32
        if self._trailers > self._limits.max_header_bytes:
            raise BadRequestError(_TOO_LARGE)
