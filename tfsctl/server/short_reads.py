"""Reads the beginning of a request only, so that a large body stays in the kernel until there is memory for it."""

from __future__ import annotations

import asyncio

_SHORT_READ_BYTES = 16 * 1024  # the largest head that clients send, and small requests
_buffer = memoryview(bytearray(_SHORT_READ_BYTES))  # of all connections: it is copied at once


class ShortReader(asyncio.BufferedProtocol):
    """Passes what arrives on to a protocol, at most 16 KiB at once. A transport reads up to 256 KiB otherwise."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self._data_received = protocol.data_received
        self.connection_made = protocol.connection_made  # type: ignore[method-assign]
        self.connection_lost = protocol.connection_lost  # type: ignore[method-assign]
        self.eof_received = protocol.eof_received  # type: ignore[method-assign]
        self.pause_writing = protocol.pause_writing  # type: ignore[method-assign]
        self.resume_writing = protocol.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer for the next bytes."""
        del sizehint
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` bytes are in the buffer."""
        self._data_received(bytes(_buffer[:nbytes]))
