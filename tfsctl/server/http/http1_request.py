"""One HTTP/1 request, and its response as HTTP/1 writes it (RFC 9112)."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol

from tfsctl.server.http.exchange import NO_BODY, SMALL_RESPONSE_BYTES, Exchange, Pairs, Tasks
from tfsctl.server.http.listener_state import ListenerState
from tfsctl.server.http.request_head import RequestHead
from tfsctl.server.status import error_page

_PIECE_BYTES = 1024 * 1024  # of a response, given to the socket at once: 30 MB took 20 ms of the event loop


class RequestOwner(Protocol):
    """The connection that a request came on."""

    state: ListenerState
    loop: asyncio.AbstractEventLoop
    port: int | None

    heard_s: float

    @property
    def is_paused(self) -> bool:
        """Whether the client does not read its response."""

    def write(self, data: bytes) -> None:
        """Send bytes, if the client is still there."""

    def write_large(self, *parts: bytes | memoryview) -> None:
        """Send large parts without joining them."""

    def abort(self) -> None:
        """Close the connection at once."""

    async def until_writable(self) -> None:
        """Return when the client has read its response, or has disconnected."""

    def on_body_consumed(self, request: Request) -> None:
        """The application has taken a part of the body."""

    def on_memory_granted(self) -> None:
        """More of the body may be read."""

    def on_done(self, request: Request) -> None:
        """The application is done with the request."""


class Request(Exchange):
    """A request and its response.

    `keeps_alive` tells whether another request may follow, `has_begun` whether a byte of the response was sent,
    `has_answered` whether all of it was.
    """

    __slots__ = (
        "_expects_continue",
        "_head",
        "_is_chunked",
        "_owner",
        "has_answered",
        "has_begun",
        "keeps_alive",
        "started_s",
    )

    def __init__(self, owner: RequestOwner, head: RequestHead) -> None:
        super().__init__(owner.loop, owner.state.budget, owner, owner.port, head.method, head.target, head.headers)
        self._owner, self._head = owner, head
        self.keeps_alive = head.keeps_alive
        self.started_s = owner.heard_s
        self._is_chunked = self.has_begun = self.has_answered = False
        self._expects_continue = (
            not head.is_http_1_0 and b"expect" in head.headers and head.headers[b"expect"].lower() == b"100-continue"
        )

    @property
    def is_last(self) -> bool:
        """Whether the client asked to close the connection after this request."""
        return not self._head.keeps_alive

    @property
    def unconsumed(self) -> int:
        """How many bytes of the body have arrived that the application has not taken."""
        return self._unconsumed

    def abort(self) -> None:
        """Give the exchange up: the client sees a broken connection."""
        self._owner.abort()
        self.cancel()

    def cancel(self) -> None:
        """The client has left: nobody waits for the response any more."""
        super().cancel()
        if self.task is not None:
            self._owner.state.tasks.cancel(self.task)

    def on_served(self) -> None:
        """The application is done: the connection reads its next request, or closes."""
        if not self.has_answered:
            self.keeps_alive = False
        super().on_served()
        self._owner.on_done(self)

    def _on_consumed(self, size: int) -> None:
        if self._expects_continue and not self.has_begun and not self.has_all and not size:
            self._ask_for_body()
        self._owner.on_body_consumed(self)

    def _ask_for_body(self) -> None:
        """Tell a client that waits with the body to send it, as soon as there is memory for it."""
        if not self.waits_for_memory:
            self._expects_continue = False
            self._owner.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_memory_granted(self, size: int) -> None:
        """More of the body may be read."""
        del size
        if self._expects_continue and self._is_consuming and not self.has_begun:
            self._ask_for_body()
        self._owner.on_memory_granted()

    @property
    def _tasks(self) -> Tasks:
        return self._owner.state.tasks

    def respond(self, status: int, headers: Pairs, body: bytes, trailers: Pairs = ()) -> None:
        """Send a whole small response to a request that was served without a task, and end the exchange."""
        owner = self._owner
        if trailers or self.method == "HEAD" or status in NO_BODY:
            super().respond(status, headers, body, trailers)
            return
        head = self._head_bytes(status, headers, b"content-length: %d\r\n" % len(body))
        self.has_answered = True
        owner.write(head + body)
        if owner.is_paused:
            self.serve_by_task(owner.until_writable())
        else:
            owner.state.tasks.end(self)

    async def reply(self, status: int, headers: Pairs, body: bytes, trailers: Pairs = ()) -> None:
        """Send a whole response with its length. Raises BudgetExceededError, before anything is sent."""
        if trailers:
            self.start(status, headers)
            await self.write(body)
            await self.finish(trailers)
            return
        if len(body) > SMALL_RESPONSE_BYTES:
            self.charge_response(len(body))
        head = self._head_bytes(status, headers, b"" if status in NO_BODY else b"content-length: %d\r\n" % len(body))
        self.has_answered = True
        if self.method == "HEAD":
            self._owner.write(head)
        elif len(body) > SMALL_RESPONSE_BYTES:
            await self._write_large(head, body)
        else:
            self._owner.write(head + body)
        if self._owner.is_paused:
            await self._owner.until_writable()

    async def _write_large(self, head: bytes, body: bytes) -> None:
        """Send a large response in pieces, between which other connections are served."""
        rest = memoryview(body)
        self._owner.write_large(head, rest[:_PIECE_BYTES])
        while (rest := rest[_PIECE_BYTES:]) and not self.is_gone:
            if self._owner.is_paused:
                await self._owner.until_writable()
            else:
                await asyncio.sleep(0)
            self._owner.write_large(rest[:_PIECE_BYTES])

    def start(self, status: int, headers: Pairs) -> None:
        """Begin a response whose body is sent in parts."""
        if self._head.is_http_1_0:
            self.keeps_alive = False  # the end of the connection is the end of the response
        else:
            self._is_chunked = self.method != "HEAD"
            headers = (*headers, (b"transfer-encoding", b"chunked"))
        self._owner.write(self._head_bytes(status, headers))

    async def write(self, data: bytes) -> None:
        """Send a part of the body."""
        if data and self.method != "HEAD":
            self._owner.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)
            await self._owner.until_writable()

    async def finish(self, trailers: Pairs) -> None:
        """End a response that was sent in parts; HTTP/1.0 has no trailers."""
        self.has_answered = True
        if self._is_chunked:
            lines = b"".join([b"%b: %b\r\n" % pair for pair in trailers])
            self._owner.write(b"0\r\n" + lines + b"\r\n")
        await self._owner.until_writable()

    def _head_bytes(self, status: int, headers: Pairs, length: bytes = b"") -> bytes:
        if not self.has_all:
            self.keeps_alive = False  # the rest of the body must never be taken for a request
        self.has_begun = True
        lines, date = _head_lines(status, headers), _date(int(self._loop.time()))
        if not self.keeps_alive:
            return b"%b%b%bconnection: close\r\n\r\n" % (lines, length, date)
        if self._head.is_http_1_0:
            return b"%b%b%bconnection: keep-alive\r\n\r\n" % (lines, length, date)
        return b"%b%b%b\r\n" % (lines, length, date)


def refusal(status: HTTPStatus) -> bytes:
    """A whole response to bytes that are no request, as libevent writes it; the connection closes after it."""
    page = error_page(status)
    head = b"content-type: text/html\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(page)
    return _status_line(status.value) + head + page


@lru_cache(256)
def _head_lines(status: int, headers: Pairs) -> bytes:
    """The status line and header fields that responses of one kind have in common."""
    return b"".join([_status_line(status), *[b"%b: %b\r\n" % pair for pair in headers]])


@lru_cache(maxsize=None)
def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


@lru_cache(1)
def _date(_second: int) -> bytes:
    return f"date: {formatdate(usegmt=True)}\r\n".encode()
