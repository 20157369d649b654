"""Decompresses the bodies of requests in pieces: a call that returns many megabytes copies them, and holds the GIL."""

from __future__ import annotations

import zlib

from tfsctl.server.process.loop_yield import yield_to_loop

_INPUT_BYTES, _OUTPUT_BYTES = 64 * 1024, 512 * 1024


def decompress(data: memoryview, window_bits: int, limit: int) -> tuple[bytes, bool]:
    """Up to `limit` bytes that a compressed stream unpacks to, and whether they are all of it.

    What follows the stream is ignored. Raises zlib.error for a damaged stream.
    """
    unpacker = zlib.decompressobj(window_bits)
    parts: list[bytes] = []
    left, at, pending, is_full = limit, 0, b"", False
    while left and not unpacker.eof and (pending or is_full or at < len(data)):
        if not pending:
            pending = bytes(data[at : at + _INPUT_BYTES])
            at += _INPUT_BYTES
        wanted = min(left, _OUTPUT_BYTES)
        part = unpacker.decompress(pending, wanted)
        pending = unpacker.unconsumed_tail
        is_full = len(part) == wanted  # there may be more without further input
        left -= len(part)
        parts.append(part)
        yield_to_loop()
    return b"".join(parts), unpacker.eof
