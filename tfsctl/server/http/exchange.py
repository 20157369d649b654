"""One request on its way to the application: what `receive` of ASGI gives of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class Exchange:
    """The body of a request as it comes, and whether its client is still there."""

    __slots__ = ("_chunks", "_is_told", "_loop", "_news", "has_all", "is_gone")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._chunks: list[bytes] = []
        self._news: asyncio.Future[None] | None = None
        self._is_told = False
        self.has_all = False
        """The whole request is here."""
        self.is_gone = False
        """The client has left."""

    def add(self, data: bytes) -> None:
        """Take the next part of the body."""
        if self.is_gone:
            return
        self._chunks.append(data)
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

    async def receive(self) -> Message:
        """The body so far, `http.request`; `http.disconnect` once the client has left."""
        while not self.is_gone:
            if self._chunks or (self.has_all and not self._is_told):
                self._is_told = self.has_all
                chunks, self._chunks = self._chunks, []
                body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
                return {"type": "http.request", "body": body, "more_body": not self.has_all}
            self._news = self._loop.create_future()
            await self._news
        return {"type": "http.disconnect"}

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)
