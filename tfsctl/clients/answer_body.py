"""Reads the body of an HTTP answer: decompressed, with a limit on its size."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import httpx

_GZIP_WINDOW = 16 + zlib.MAX_WBITS  # the value for zlib that selects the gzip format
_WINDOW_OF_ENCODING = {"gzip": _GZIP_WINDOW, "x-gzip": _GZIP_WINDOW, "deflate": zlib.MAX_WBITS}


class BodyTooLarge(Exception):
    """The body is larger than the limit, after decompression."""


def read_body(response: httpx.Response, *, max_bytes: int) -> bytes:
    """The body of an answer whose head was received.

    At most `max_bytes` + 1 bytes are decompressed, so a small body that expands to a huge one costs no more memory.

    Raises BodyTooLarge, httpx.DecodingError for an encoding that was not requested or a damaged body, and what the
    connection raises.
    """
    decompressor = _decompressor(response.headers.get("content-encoding", "identity").strip().lower())
    chunks, size = [], 0
    assert isinstance(response.stream, Iterable)  # noqa: S101 - the stream of a synchronous client
    for raw in response.stream:
        chunk = raw if decompressor is None else _decompress(decompressor, raw, max_bytes - size + 1)
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            raise BodyTooLarge
    if decompressor is not None and size and not decompressor.eof:
        raise httpx.DecodingError("the compressed body ends too early")
    return b"".join(chunks)


def _decompressor(encoding: str) -> zlib._Decompress | None:
    """The decompressor for a Content-Encoding; None for an uncompressed body."""
    if encoding in ("", "identity"):
        return None
    if encoding not in _WINDOW_OF_ENCODING:  # also several encodings, which multiply the expansion
        raise httpx.DecodingError(f"the body has the content encoding {encoding}, which was not requested")
    return zlib.decompressobj(_WINDOW_OF_ENCODING[encoding])


def _decompress(decompressor: zlib._Decompress, raw: bytes, max_bytes: int) -> bytes:
    try:
        return decompressor.decompress(raw, max_bytes)
    except zlib.error as error:
        raise httpx.DecodingError(f"the compressed body is damaged: {error}") from error
