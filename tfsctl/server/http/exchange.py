"""One request and its response as the application sees them, whichever version of HTTP carries them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from tfsctl.server.memory_budget import BudgetExceededError, MemoryBudget

_SMALL_BYTES, _MAX_JOINED_BYTES = 1024, 64 * 1024
_LARGE_BYTES = 1024 * 1024  # of a body whose parts are joined in a thread
SMALL_RESPONSE_BYTES = 64 * 1024
"""A larger response is counted in the memory budget, which may refuse it, and is not copied behind its head."""
NO_BODY = frozenset((204, 304))
"""Statuses of responses that never have a body."""
GRPC_PREFIX_BYTES = 5
"""Before each gRPC message: a byte that tells whether it is compressed, and four of its length."""
_LENGTH_DIGITS = 19  # of the largest int64
Pairs = tuple[tuple[bytes, bytes], ...]
"""Header or trailer fields as they are sent; names in lower case."""


class ClientGoneError(Exception):
    """The client disconnected or cancelled before the request or its response was complete."""


class BodyTooLargeError(Exception):
    """A body has more bytes than allowed; `size` of them have arrived or are announced."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes")
        self.size = size


class BodyTimeoutError(Exception):
    """A body arrived too slowly."""


class Work(Protocol):
    """What serves a request: a task, or an object that answers it without one."""

    def cancel(self) -> object:
        """The client has left: end soon."""


class WaitingRun(Protocol):
    """The run of a model for a request."""

    is_waiting: bool
    """Whether it has not begun."""

    def settle(self, outcome: object) -> None:
        """Give its answer, or its error."""


class Tasks(Protocol):
    """The tasks that serve the requests of a listener."""

    def spawn(self, exchange: Exchange, serving: Awaitable[None]) -> None:
        """Serve a request by a task."""

    def end(self, exchange: Exchange) -> None:
        """The application is done with a request."""


class Exchange(ABC):
    """A request and its response. The transport calls the first group of methods, the application the others.

    Attributes:
        port: the port it came in by; None for a UNIX socket.
        client: the connection that it came on: one object for all requests of a connection.
        target: the path with its query string, as it was sent.
        headers: the header fields, names in lower case; not to be changed.
        size: how many bytes of the body have arrived.
        has_all: whether the whole request has arrived.
        is_gone: whether the client has left, so that nobody waits for a response.
        is_streaming: whether the body may arrive as slowly as the client likes (streaming calls); the application's.
        is_alone: whether no other request was around when this one began, and none has begun since.
        task: the task, or the object without a task, that serves the request, None before and after that.
        run: the run of a model that the request waits for, None before and after that.
        held: the bytes counted in the memory budget for this exchange.
    """

    __slots__ = (
        "_budget",
        "_chunks",
        "_error",
        "_is_consuming",
        "_loop",
        "_unconsumed",
        "_waiter",
        "client",
        "has_all",
        "headers",
        "held",
        "is_alone",
        "is_gone",
        "is_streaming",
        "method",
        "port",
        "run",
        "size",
        "target",
        "task",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        budget: MemoryBudget,
        client: object,
        port: int | None,
        method: str,
        target: str,
        headers: Mapping[bytes, bytes],
    ) -> None:
        self._loop, self._budget, self.client = loop, budget, client
        self.port, self.method, self.target, self.headers = port, method, target, headers
        self._chunks: list[bytes | bytearray] = []
        self.size = self._unconsumed = 0  # `_unconsumed` are the bytes that the application has not taken
        self._waiter: asyncio.Future[None] | None = None  # set when something arrives, or the exchange ends
        self._error: Exception | None = None  # why the body is refused
        self._is_consuming = False  # the body is consumed as it arrives
        self.has_all = self.is_gone = self.is_streaming = self.is_alone = False
        self.task: Work | None = None
        self.run: WaitingRun | None = None
        self.held = 0

    def on_served(self) -> None:
        """The application is done: end the response if it is still open, and give its bytes back to the memory budget."""
        held, budget = self.held, self._budget
        if held:  # as MemoryBudget.remove does, without the call
            self.held = 0
            budget.used -= held
            if budget.waiting:
                budget.resume_waiting()

    def add(self, data: bytes) -> None:
        """Take the next part of the body."""
        size = len(data)
        self._unconsumed += size
        if self.is_gone or self._error is not None:
            self._consume(size)
            return
        budget = self._budget
        used = budget.used + size
        if used <= budget.limit:  # as `reserve` does, without the call
            budget.used = used
        else:
            try:
                budget.reserve(size, self.held)
            except BudgetExceededError as error:
                self.refuse_body(error)
                self._consume(size)
                return
        self.held += size
        chunks = self._chunks
        if not chunks or size > _SMALL_BYTES:
            chunks.append(data)
        elif isinstance(last := chunks[-1], bytearray) and len(last) < _MAX_JOINED_BYTES:
            last += data
        else:
            chunks.append(bytearray(data))  # joins small parts
        self.size += size
        if self._is_consuming:
            self._consume(size)
        if self._waiter is not None:
            self._wake()

    def end(self) -> None:
        """The body is complete."""
        self.has_all = True
        if self._waiter is not None:
            self._wake()

    def refuse_body(self, error: Exception) -> None:
        """Drop the body, and raise this error where it is read, unless all of it has arrived."""
        if self._error is None and not self.has_all:
            self._error = error
            self._drop_body()
            if self._waiter is not None:
                self._wake()

    @property
    def is_waiting(self) -> bool:
        """Whether the request waits for a run that has not begun."""
        return self.run is not None and self.run.is_waiting

    def refuse_waiting(self, error: Exception) -> None:
        """Answer a request that `is_waiting` with an error."""
        if self.run is not None:
            self.run.settle(error)

    def cancel(self) -> None:
        """The client has left: nobody waits for the response any more."""
        self.is_gone = True
        self._drop_body()
        if self._waiter is not None:
            self._wake()

    def _drop_body(self) -> None:
        if self._chunks:
            size = sum(map(len, self._chunks))
            self._chunks.clear()
            self.held -= size
            self._budget.remove(size)
            if self._unconsumed:
                self._consume(self._unconsumed)

    def _consume(self, size: int) -> None:
        self._unconsumed -= size
        self._on_consumed(size)

    def _on_consumed(self, size: int) -> None:  # noqa: B027 - not every transport has flow control
        """Called when the application has taken that much of the body: the transport lets the client send more."""

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def arrived_body(self, limit: int) -> bytes | None:
        """The whole body of a request that `has_all`; None if it has more than `limit` bytes."""
        chunks = self._chunks
        if self.size > limit:
            return None
        if len(chunks) == 1 and isinstance(only := chunks[0], bytes):
            return only
        return b"".join(chunks)

    async def body(self, limit: int, *, is_framed: bool = False) -> bytes:
        """The whole body. Raises ClientGoneError, BodyTooLargeError if it has more than `limit` bytes.

        With `is_framed` the body is a gRPC message, which begins with its length: a length above the limit is refused
        at once, and a body that continues after its message is returned as soon as that shows. Raises BudgetExceededError
        if the server would hold too much, and BodyTimeoutError for a body that arrives too slowly.
        """
        if self.has_all:
            if self.size > limit:
                raise BodyTooLargeError(self.size)
        else:
            if (announced := self._announced_size()) > limit:
                raise BodyTooLargeError(announced)
            if announced > self._budget.limit:
                raise BudgetExceededError(announced, self._budget.limit)
            self._is_consuming = True
            self._consume(self._unconsumed)
            while not self.has_all and not (is_framed and self._has_message(limit)):
                await self._wait_for_change()
                if self.size > limit:
                    self._drop_body()
                    raise BodyTooLargeError(self.size)
        chunks = self._chunks
        if len(chunks) == 1 and isinstance(only := chunks[0], bytes):
            return only
        if self.size < _LARGE_BYTES:
            body = b"".join(chunks)
        else:  # joining bytes, and only bytes, releases Python's lock
            copies = [bytes(chunk) for chunk in chunks]
            body = await self._loop.run_in_executor(None, b"".join, copies)
            if self.is_gone:
                raise ClientGoneError
        self._chunks = [body]
        return body

    def _has_message(self, limit: int) -> bool:
        """Whether more than a whole gRPC message has arrived. Raises BodyTooLargeError for one that is too large."""
        if self.size < GRPC_PREFIX_BYTES:
            return False
        prefix = b"".join([bytes(chunk[:GRPC_PREFIX_BYTES]) for chunk in self._chunks[:GRPC_PREFIX_BYTES]])
        end = GRPC_PREFIX_BYTES + int.from_bytes(prefix[1:GRPC_PREFIX_BYTES], "big")
        if end > limit:
            raise BodyTooLargeError(end)
        return self.size > end

    def _announced_size(self) -> int:
        length = self.headers.get(b"content-length", b"")
        return int(length[:_LENGTH_DIGITS]) if length.isdigit() else 0

    def abort(self) -> None:
        """Give the exchange up: the client sees a broken connection or stream."""
        self.cancel()

    async def part(self) -> bytes:
        """The next part of the body; empty after the last one. Raises ClientGoneError.

        The client may send more only as parts are taken.
        """
        while not self._chunks and not self.has_all:
            await self._wait_for_change()
        part = bytes(self._chunks.pop(0)) if self._chunks else b""
        self.held -= len(part)
        self._budget.remove(len(part))
        if self._unconsumed:
            self._consume(min(self._unconsumed, len(part)))
        return part

    async def until_gone(self) -> None:
        """Return when the client has left."""
        while not self.is_gone:
            self._waiter = self._loop.create_future()
            await self._waiter

    async def _wait_for_change(self) -> None:
        if not self.is_gone and self._error is None:
            self._waiter = self._loop.create_future()
            await self._waiter
        if self.is_gone:
            raise ClientGoneError
        if self._error is not None:
            raise self._error

    @property
    def memory_limit(self) -> int:
        """How many bytes may be held for all exchanges together."""
        return self._budget.limit

    def charge_response(self, size: int) -> None:
        """Count a response, which takes the place of the request and all that was made of it.

        Raises BudgetExceededError if it is too large.
        """
        if self.has_all:
            self._chunks.clear()
            self._budget.remove(self.held)
            self.held = 0
        self.charge(size)

    def charge(self, size: int) -> None:
        """Count bytes made of the request, until the exchange is over. Raises BudgetExceededError if they are too many."""
        self._budget.reserve(size, self.held)
        self.held += size

    @property
    def is_local(self) -> bool:
        """Whether the client is known to run on this machine."""
        return False

    @property
    @abstractmethod
    def _tasks(self) -> Tasks:
        """The tasks of the listener."""

    def serve_by_task(self, serving: Awaitable[None]) -> None:
        """Let a task go on with a request that was served without one."""
        self._tasks.spawn(self, serving)

    def end_service(self) -> None:
        """The application is done with a request that was served without a task."""
        self._tasks.end(self)

    def respond(self, status: int, headers: Pairs, body: bytes, trailers: Pairs = ()) -> None:
        """Send a response of at most SMALL_RESPONSE_BYTES to a request that was served without a task, and end that.

        What the client does not take at once is left to a task.
        """
        self.serve_by_task(self.reply(status, headers, body, trailers))

    @abstractmethod
    async def reply(self, status: int, headers: Pairs, body: bytes, trailers: Pairs = ()) -> None:
        """Send a whole response with its length. Returns when it is written, or nobody wants it any more.

        Raises BudgetExceededError, before anything is sent, if the memory budget does not allow the response.
        """

    @abstractmethod
    def start(self, status: int, headers: Pairs) -> None:
        """Begin a response whose body is sent in parts."""

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Send a part of the body. Returns when it is written, or nobody wants it any more."""

    @abstractmethod
    async def finish(self, trailers: Pairs) -> None:
        """End a response that was sent in parts."""


Application = Callable[[Exchange], "Awaitable[None] | None"]
"""Serves a request. Returns what a task is to await, or None if it goes on without one and ends it itself."""
