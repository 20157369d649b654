"""One HTTP/1.1 or HTTP/1.0 connection (RFC 9112): requests by `httptools`, answered one after the other."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import cast

import httptools

from tfsctl.server.http import request_head_cache
from tfsctl.server.http.exchange import NO_BODY, Exchange, Pairs
from tfsctl.server.http.hpack_cache import path_of
from tfsctl.server.http.settings import Limits, Site

log = logging.getLogger(__name__)

_MAX_HEAD_BYTES = 64 * 1024
_MAX_WAITING = 32  # requests that came before their turn
_LINGER_S = 0.5
_is_host = lru_cache(256)(re.compile(rb"[^\s/?#@]*").fullmatch)


class Http1Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, site: Site, limits: Limits, port: int | None) -> None:
        self.site = site
        self.loop = site.loop
        self._port = port
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()  # the first one is being answered, once it has a task
        self._reading: Request | None = None
        self._head_bytes = self._most_head_bytes = 0  # since the last thing that made sense; before that was found
        self._url = b""
        self._plain_head = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._refusal: HTTPStatus | None = None  # what is said after the last answer, before the connection closes
        self._is_closing = False
        self._is_reading_paused = False
        self._writable: asyncio.Future[None] | None = None
        self.is_paused = False

    # ---- asyncio's side ----
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the client in."""
        self._transport = cast("asyncio.Transport", transport)
        self._opened_s = self._heard_s = self.loop.time()
        self.site.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Read requests, and begin with the first one that is not answered yet."""
        if self._is_closing or self._refusal is not None:
            return
        self._heard_s = self.loop.time()
        is_begin = not self._waiting and not self._head_bytes and self._reading is None
        if is_begin and self._take_known(data):
            return
        self._head_bytes += len(data)
        self._most_head_bytes = self._head_bytes
        try:
            self._feed(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self._refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        except httptools.HttpParserInvalidMethodError:
            self._refusal = HTTPStatus.NOT_IMPLEMENTED
        except (httptools.HttpParserError, httptools.HttpParserCallbackError) as error:
            too_large = isinstance(error.__context__, _TooLargeError)
            self._refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if too_large else HTTPStatus.BAD_REQUEST
        if self._refusal is not None and self._reading is not None:
            self._reading.leave()  # its body makes no sense
        if is_begin and self._waiting and self._waiting[0].goes_on:
            request_head_cache.keep(data, self._waiting[0])
        self._next()

    def _take_known(self, data: bytes) -> bool:
        """Take a whole request whose head came before, to the letter; whether this is one."""
        found = request_head_cache.find(data)
        if found is None:
            return False
        head, body = found
        request = Request(self.loop, self._port, head.method, head.target, head.path, head.headers)
        request.attach(self, request_head_cache.VERSION, keeps_alive=True)
        if body:
            request.add(body)
        request.end()
        self._waiting.append(request)
        self._next()
        return True

    def _feed(self, data: bytes) -> None:
        """Parse. A request to go over to another protocol is read as one that asks for no such thing."""
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._plain_head + data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
            else:
                return

    def pause_writing(self) -> None:
        """The client does not read: what it asks now would only pile up."""
        self.is_paused = True
        self._pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.is_paused = False
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)
        self._resume_reading()

    def eof_received(self) -> bool:
        """The client says no more, but may still listen."""
        self._refusal = self._refusal or HTTPStatus.OK
        if self._reading is not None:
            self._reading.leave()
        return bool(self._waiting)

    def connection_lost(self, _error: Exception | None) -> None:
        """The client has left."""
        self._is_closing = True
        self.site.connections.discard(self)
        for request in self._waiting:
            request.leave()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # ---- what the time brings ----
    def look_after(self, now_s: float) -> None:
        """Send a client away that has been here for long, or silent for long."""
        limits = self._limits
        is_old = limits.max_age_s is not None and now_s - self._opened_s > limits.max_age_s
        is_silent = limits.max_idle_s is not None and now_s - self._heard_s > limits.max_idle_s
        is_idle = not self._waiting or not (self._waiting[0].has_all or self._waiting[0].has_answered)
        if is_idle and (is_silent or (is_old and not self._head_bytes)):
            self._transport.close()
        elif is_old and self._waiting:
            self._waiting[-1].keeps_alive = False

    def close(self) -> None:
        """End the connection; what is written reaches the client."""
        self._transport.close()

    # ---- httptools' side ----
    def on_message_begin(self) -> None:
        """A request line begins."""
        self._url, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        """The target, or a part of it."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head of a request is here. Raises _TooLargeError or _BadRequestError for one that cannot be."""
        parser, target, method = self._parser, self._url, self._parser.get_method()
        if self._most_head_bytes > _MAX_HEAD_BYTES and _size(target, self._headers) > _MAX_HEAD_BYTES:
            raise _TooLargeError
        if parser.should_upgrade() and method != b"CONNECT":
            kept = [b"%b: %b\r\n" % pair for pair in self._headers if pair[0] != b"upgrade"]
            self._plain_head = b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, b"".join(kept))
            return
        version = parser.get_http_version()
        hosts = [value for name, value in self._headers if name == b"host"]
        if version not in ("1.0", "1.1") or len(hosts) > 1 or (version == "1.1" and not hosts):
            raise _BadRequestError
        if hosts and not _is_host(hosts[0]):
            raise _BadRequestError
        self._head_bytes = 0
        text = target.decode("latin-1")
        request = Request(self.loop, self._port, method.decode("latin-1"), text, path_of(text), dict(self._headers))
        request.attach(self, version, keeps_alive=parser.should_keep_alive() and method != b"CONNECT")
        self._reading = request
        self._waiting.append(request)

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self._head_bytes = 0
        if self._reading is not None:
            self._reading.add(data)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._head_bytes = 0
        if self._reading is not None:
            self._reading.end()
            self._reading = None

    # ---- one after the other ----
    def _next(self) -> None:
        """Begin with the first request that waits; after the last, do what is left to do."""
        waiting = self._waiting
        if waiting:
            if waiting[0].task is None:
                waiting[0].task = self.loop.create_task(waiting[0].serve())
            if len(waiting) > _MAX_WAITING:
                self._pause_reading()
        elif self._refusal is not None and not self._is_closing:
            if self._refusal is not HTTPStatus.OK:
                self.write(_page(self._refusal))
            self._close_after_a_while()

    def done_with(self, request: Request) -> None:
        """The first request is answered: the next one's turn."""
        if self._is_closing:
            return
        self._waiting.popleft()
        request.leave()  # what is left of its body is for nobody
        if not request.keeps_alive:
            self._waiting.clear()
            if self._refusal not in (None, HTTPStatus.OK) and not request.has_begun:
                self.write(_page(self._refusal))
            self._close_after_a_while()
            return
        self._resume_reading()
        self._next()

    def _close_after_a_while(self) -> None:
        """Close, when the client had a moment to read the answer: what it still sends would make it lose that."""
        self._is_closing = True
        transport = self._transport
        if transport.is_closing():
            return
        if transport.can_write_eof() and (self._reading is not None or self._refusal is not None):
            transport.write_eof()
            self.loop.call_later(_LINGER_S, transport.close)
        else:
            transport.close()

    def _pause_reading(self) -> None:
        if not self._is_reading_paused and not self._transport.is_closing():
            self._is_reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_reading_paused and not self.is_paused and len(self._waiting) <= _MAX_WAITING:
            self._is_reading_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Send bytes, if the client is still there."""
        if not self._transport.is_closing():
            self._transport.write(data)

    async def until_writable(self) -> None:
        """Return when the client reads what it was sent."""
        if self.is_paused and not self._transport.is_closing():
            self._writable = self.loop.create_future()
            await self._writable


class Request(Exchange):
    """A request, and its answer as HTTP/1 writes it."""

    __slots__ = ("_connection", "_is_chunked", "_version", "has_answered", "has_begun", "keeps_alive", "task")

    _connection: Http1Connection
    _version: str
    keeps_alive: bool

    def attach(self, connection: Http1Connection, version: str, *, keeps_alive: bool) -> None:
        """Say which connection it came on, and whether there may be another one after it."""
        self._connection, self._version, self.keeps_alive = connection, version, keeps_alive
        self.task: asyncio.Task[None] | None = None
        self._is_chunked = self.has_begun = self.has_answered = False

    @property
    def goes_on(self) -> bool:
        """Whether there may be another one after it, without a word about that."""
        return self.keeps_alive and self._version == request_head_cache.VERSION

    @property
    def client(self) -> object:
        """The connection."""
        return self._connection

    def leave(self) -> None:
        """Nobody waits for the answer any more."""
        super().leave()
        if self.task is not None:
            self._connection.site.canceller.cancel(self.task)

    async def serve(self) -> None:
        """Let the application answer."""
        connection = self._connection
        if not self.has_all and self._version == "1.1" and self.headers.get(b"expect", b"").lower() == b"100-continue":
            connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            await connection.site.application(self)
        except Exception:  # the one door for bugs: the connection is of no use any more
            log.exception("A request failed: %s", self.path)
        finally:
            if not self.has_answered:
                self.keeps_alive = False
            connection.done_with(self)

    async def reply(self, status: int, headers: Pairs, body: bytes, trailers: Pairs = ()) -> None:
        """Send a whole answer."""
        if trailers:
            self.start(status, headers)
            await self.write(body)
            await self.finish(trailers)
            return
        head = self._head(status, headers, b"" if status in NO_BODY else b"content-length: %d\r\n" % len(body))
        self.has_answered = True
        await self._send(head if self.method == "HEAD" else head + body)

    def start(self, status: int, headers: Pairs) -> None:
        """Begin an answer whose body comes in parts."""
        if self._version == "1.1":
            self._is_chunked = self.method != "HEAD"
            headers = (*headers, (b"transfer-encoding", b"chunked"))
        else:
            self.keeps_alive = False  # the end of the connection is the end of the answer
        self._connection.write(self._head(status, headers))

    async def write(self, data: bytes) -> None:
        """Send a part of the body."""
        if data and self.method != "HEAD":
            await self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    async def finish(self, trailers: Pairs) -> None:
        """End an answer that came in parts; HTTP/1.0 has no trailers."""
        self.has_answered = True
        lines = b"".join([b"%b: %b\r\n" % pair for pair in trailers])
        await self._send(b"0\r\n" + lines + b"\r\n" if self._is_chunked else b"")

    async def _send(self, data: bytes) -> None:
        connection = self._connection
        connection.write(data)
        if connection.is_paused:
            await connection.until_writable()

    def _head(self, status: int, headers: Pairs, length: bytes = b"") -> bytes:
        self.has_begun = True
        lines, date = _head_lines(status, headers), _date(int(self._loop.time()))
        if not self.keeps_alive:
            return b"%b%b%bconnection: close\r\n\r\n" % (lines, length, date)
        if self._version == "1.0":
            return b"%b%b%bconnection: keep-alive\r\n\r\n" % (lines, length, date)
        return b"%b%b%b\r\n" % (lines, length, date)


class _TooLargeError(Exception):
    """A head is larger than it may be."""


class _BadRequestError(Exception):
    """A head says what no request may."""


def _size(target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> int:
    return len(target) + sum(len(name) + len(value) for name, value in headers)


def _page(status: HTTPStatus) -> bytes:
    """A whole answer to what is no request, as the real server's HTTP library writes it; then the connection closes."""
    title = f"{status.value} {status.phrase}"
    page = f"<HTML><HEAD>\n<TITLE>{title}</TITLE>\n</HEAD><BODY>\n<H1>{status.phrase}</H1>\n</BODY></HTML>\n".encode()
    head = b"content-type: text/html\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(page)
    return _status_line(status.value) + head + page


@lru_cache(256)
def _head_lines(status: int, headers: Pairs) -> bytes:
    """What heads of one kind have in common: all but their length and date."""
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
