"""One request and its answer, as the application sees them, whichever version of HTTP carries them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping

_SMALL_BYTES = 1024
NO_BODY = frozenset((204, 304))  # answers that never have one
_LENGTH_DIGITS = 19  # as many as any length has
Pairs = tuple[tuple[bytes, bytes], ...]
"""Headers, or trailers, as they are sent; names in lower case."""


class ClientGoneError(Exception):
    """The client left before the request or its answer was complete."""


class BodyTooLargeError(Exception):
    """A body has more bytes than it may have; `size` of them are here, or are announced."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes")
        self.size = size


class Exchange(ABC):
    """A request: its head, and its body as it comes. The answer goes out by `reply`, or by `start`, `write` and `finish`.

    `port` is the one it came in by, None for a UNIX socket; `target` the path with its query string, as it was sent;
    `path` the path with its escapes undone; `headers` have names in lower case, and are not to be changed.
    """

    __slots__ = (
        "_chunks",
        "_loop",
        "_news",
        "_size",
        "has_all",
        "headers",
        "is_gone",
        "method",
        "path",
        "port",
        "target",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        port: int | None,
        method: str,
        target: str,
        path: str,
        headers: Mapping[bytes, bytes],
    ) -> None:
        self._loop = loop
        self.port, self.method, self.target, self.path, self.headers = port, method, target, path, headers
        self._chunks: list[bytes | bytearray] = []
        self._size = 0
        self._news: asyncio.Future[None] | None = None
        self.has_all = False
        """The whole request is here."""
        self.is_gone = False
        """The client has left."""

    # ---- the connection's side ----
    def add(self, data: bytes) -> None:
        """Take the next part of the body."""
        if self.is_gone:
            return
        chunks = self._chunks
        if not chunks or len(data) > _SMALL_BYTES:
            chunks.append(data)
        elif isinstance(last := chunks[-1], bytearray):
            last += data
        else:
            chunks.append(bytearray(data))  # one for many small ones
        self._size += len(data)
        if self._news is not None:
            self._wake()

    def end(self) -> None:
        """The body is complete."""
        self.has_all = True
        if self._news is not None:
            self._wake()

    def leave(self) -> None:
        """Nobody waits for the answer any more."""
        self.is_gone = True
        self._chunks.clear()
        if self._news is not None:
            self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)

    # ---- the application's side: the request ----
    async def body(self, limit: int) -> bytes:
        """The whole body. Raises ClientGoneError, BodyTooLargeError for one of more than `limit` bytes."""
        if not self.has_all and (announced := self._announced_size()) > limit:
            raise BodyTooLargeError(announced)
        while not self.has_all:
            await self._until_news()
            if self._size > limit:
                self._chunks.clear()
                raise BodyTooLargeError(self._size)
        chunks = self._chunks
        if len(chunks) == 1 and isinstance(only := chunks[0], bytes):
            return only
        return b"".join(chunks)

    def _announced_size(self) -> int:
        length = self.headers.get(b"content-length", b"")
        return int(length[:_LENGTH_DIGITS]) if length.isdigit() else 0

    async def part(self) -> bytes:
        """The next part of the body; empty after the last one. Raises ClientGoneError."""
        while not self._chunks and not self.has_all:
            await self._until_news()
        chunks, self._chunks = self._chunks, []
        return b"".join(chunks)

    async def gone(self) -> None:
        """Return when the client has left."""
        while not self.is_gone:
            self._news = self._loop.create_future()
            await self._news

    async def _until_news(self) -> None:
        if not self.is_gone:
            self._news = self._loop.create_future()
            await self._news
        if self.is_gone:
            raise ClientGoneError

    @property
    def client(self) -> object:
        """The connection that the request came on: one object for all requests of a connection."""
        return self

    # ---- the application's side: the answer ----
    @abstractmethod
    async def reply(self, status: int, headers: Pairs, body: bytes, trailers: Pairs = ()) -> None:
        """Send a whole answer, and how long it is. Returns when it is on its way, or nobody wants it any more."""

    @abstractmethod
    def start(self, status: int, headers: Pairs) -> None:
        """Begin an answer whose body comes in parts."""

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Send a part of the body. Returns when it is on its way, or nobody wants it any more."""

    @abstractmethod
    async def finish(self, trailers: Pairs) -> None:
        """End an answer that came in parts."""


Application = Callable[[Exchange], Awaitable[None]]
