"""The body of a request while it arrives, and the memory that is held for the request until it is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from tfsctl.server.memory_budget import SMALL_BODY_BYTES, BodyMemory, BudgetExceededError, MemoryBudget
from tfsctl.server.process.freeing import free_all
from tfsctl.server.process.loop_yield import yield_to_loop
from tfsctl.server.status import Code, ServingError

_SMALL_BYTES, _MAX_JOINED_BYTES = 1024, 64 * 1024
_BEGINNING_BYTES = 32 * 1024  # of a body, after which memory for the rest is reserved, if it is not small
_LARGE_BYTES = 1024 * 1024  # of a body whose parts are joined in a thread
GRPC_PREFIX_BYTES = 5
"""Before each gRPC message: a byte that tells whether it is compressed, and four of its length."""
_DEADLINE = "Deadline Exceeded"
_LENGTH_DIGITS = 19  # of the largest int64


class ClientGoneError(Exception):
    """The client disconnected or cancelled before the request or its response was complete."""


class BodyTooLargeError(Exception):
    """A body has more bytes than allowed; `size` of them have arrived or are announced."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes")
        self.size = size


class BodyTimeoutError(Exception):
    """A body arrived too slowly."""


class RequestBody:
    """The body of a request, and the memory held for it. The base of `Exchange`.

    Attributes:
        client: the connection that the request came on: one object for all requests of a connection.
        headers: the header fields, names in lower case; not to be changed.
        size: how many bytes of the body have arrived.
        has_all: whether the whole request has arrived.
        is_gone: whether the client has left, so that nobody waits for a response.
        is_streaming: whether the body may arrive as slowly as the client likes (streaming calls); the application's.
        held: the bytes counted in the memory budget for this request, but those of a large body.
    """

    __slots__ = (
        "_budget",
        "_chunks",
        "_error",
        "_is_consuming",
        "_loop",
        "_memory",
        "_unconsumed",
        "_waiter",
        "client",
        "has_all",
        "headers",
        "held",
        "is_gone",
        "is_streaming",
        "size",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        budget: MemoryBudget,
        client: object,
        headers: Mapping[bytes, bytes],
    ) -> None:
        self._loop, self._budget, self.client, self.headers = loop, budget, client, headers
        self._chunks: list[bytes | bytearray] = []
        self.size = self._unconsumed = 0  # `_unconsumed` are the bytes that the application has not taken
        self._waiter: asyncio.Future[None] | None = None  # set when something arrives, or the exchange ends
        self._error: Exception | None = None  # why the body is refused
        self._is_consuming = False  # the body is consumed as it arrives
        self._memory: BodyMemory | None = None  # of a large body
        self.has_all = self.is_gone = self.is_streaming = False
        self.held = 0

    def on_served(self) -> None:
        """The application is done: end the response if it is still open, and give its bytes back to the memory budget."""
        if self._memory is not None:
            self._release_memory(self._memory)
            self._free_chunks()
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
        if used <= budget.limit and self._memory is None:  # as `_count` does, without the call
            budget.used = used
            self.held += size
        elif not self._count(size):
            return
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
        if self.size > _BEGINNING_BYTES and self._memory is None and not self.is_streaming:
            self._expect_more()
        if self._waiter is not None:
            self._wake()

    def _count(self, size: int) -> bool:
        """Count bytes of the body in the memory budget. If they are too many, refuses the body and returns False."""
        try:
            if self._memory is None:
                self._budget.reserve(size, self.held)
                self.held += size
            else:
                self._memory.take(size)
        except BudgetExceededError as error:
            self.refuse_body(error)
        return self._error is None

    def _expect_more(self) -> None:
        """Reserve memory for the rest of a body whose beginning has arrived, unless it is small."""
        announced = self._announced_size() or self._message_size()
        if announced == 0 or announced > SMALL_BODY_BYTES:
            self.expect_body(announced or None)

    def expect_body(self, announced: int | None, *, buffered: int = 0) -> None:
        """A large body arrives, of which the transport holds `buffered` bytes. None: its length is not known.

        From then on, memory is reserved for the body before it is read: see `waits_for_memory`.
        """
        budget, arrived = self._budget, self.size
        if announced is not None and announced > budget.limit:
            return  # refused where the body is read
        self.held -= arrived
        budget.used -= arrived
        self._memory = BodyMemory(budget, self, announced)
        try:
            self._memory.begin(arrived, buffered)
        except BudgetExceededError as error:
            self.refuse_body(error)

    @property
    def waits_for_memory(self) -> bool:
        """Whether no more of the body should be read now, until `on_memory_granted`."""
        return self._memory is not None and self._memory.is_waiting

    @property
    def waited_s(self) -> float:
        """How long the body has waited for memory."""
        return 0.0 if self._memory is None else self._memory.waited_s()

    @property
    def keeps_others_waiting(self) -> bool:
        """Whether memory is reserved for this body while others wait for memory."""
        return self._memory is not None and self._memory.reserved > 0 and self._budget.waiting > 0

    def on_memory_granted(self, size: int) -> None:
        """Memory for `size` more bytes of the body is reserved: the transport lets the client send them."""

    def _release_memory(self, memory: BodyMemory) -> None:
        self._memory = None
        memory.release()
        self._budget.resume_waiting()

    def end(self) -> None:
        """The body is complete."""
        if self._error is None:
            self.has_all = True
        if self._memory is not None:
            self._memory.complete()
        if self._waiter is not None:
            self._wake()

    def refuse_body(self, error: Exception) -> None:
        """Drop the body, and raise this error where it is read, unless all of it has arrived."""
        if self._error is None and not self.has_all:
            self._error = error
            self._drop_body()
            if self._waiter is not None:
                self._wake()

    def cancel(self) -> None:
        """The client has left: nobody waits for the response any more."""
        self.is_gone = True
        self._drop_body()
        if self._waiter is not None:
            self._wake()

    def _drop_body(self) -> None:
        if self._memory is not None:
            self._free_chunks()
            self._release_memory(self._memory)
        elif self._chunks:
            size = sum(map(len, self._chunks))
            self._chunks.clear()
            self.held -= size
            self._budget.remove(size)
        if self._unconsumed:
            self._consume(self._unconsumed)

    def _free_chunks(self) -> None:
        """Drop the body, in a thread if it is large."""
        chunks, self._chunks = self._chunks, []
        if self.size >= _LARGE_BYTES:
            free_all(chunks)

    def _consume(self, size: int) -> None:
        self._unconsumed -= size
        self._on_consumed(size)

    def _on_consumed(self, size: int) -> None:
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

    async def body(self, limit: int, *, is_framed: bool = False, deadline_s: float | None = None) -> bytes:
        """The whole body. Raises ClientGoneError, BodyTooLargeError if it has more than `limit` bytes.

        A large body that arrives while the server holds much for others has to wait until memory is given back.

        With `is_framed` the body is a gRPC message, which begins with its length: a length above the limit is refused
        at once, and a body that continues after its message is returned as soon as that shows. Raises BudgetExceededError
        if the server would hold too much, BodyTimeoutError for a body that arrives too slowly, and ServingError
        (DEADLINE_EXCEEDED) for one that is incomplete at `deadline_s`, on the clock of `time.monotonic`.
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
            timer = None if deadline_s is None else self._refuse_at(deadline_s)
            try:
                await self._until_arrived(limit, is_framed=is_framed)
            finally:
                if timer is not None:
                    timer.cancel()
        chunks = self._chunks
        if len(chunks) == 1 and isinstance(only := chunks[0], bytes):
            return only
        if self.size < _LARGE_BYTES:
            body = b"".join(chunks)
        else:
            self._chunks = []
            body = await self._loop.run_in_executor(None, _join, chunks)
            free_all(chunks)
            if self.is_gone:
                raise ClientGoneError
        self._chunks = [body]
        return body

    async def _until_arrived(self, limit: int, *, is_framed: bool) -> None:
        while not self.has_all and not (is_framed and self._has_message(limit)):
            await self._wait_for_change()
            if self.size > limit:
                self._drop_body()
                raise BodyTooLargeError(self.size)

    def _refuse_at(self, deadline_s: float) -> asyncio.TimerHandle:
        error = ServingError(Code.DEADLINE_EXCEEDED, _DEADLINE)
        return self._loop.call_later(deadline_s - time.monotonic(), self.refuse_body, error)

    def _has_message(self, limit: int) -> bool:
        """Whether more than a whole gRPC message has arrived. Raises BodyTooLargeError for one that is too large."""
        if self.size < GRPC_PREFIX_BYTES:
            return False
        end = self._framed_size()
        if end > limit:
            raise BodyTooLargeError(end)
        if end > self._budget.limit:
            raise BudgetExceededError(end, self._budget.limit)
        return self.size > end

    def _framed_size(self) -> int:
        """The size that a gRPC message and its prefix will have, of which at least the prefix has arrived."""
        prefix = b"".join([bytes(chunk[:GRPC_PREFIX_BYTES]) for chunk in self._chunks[:GRPC_PREFIX_BYTES]])
        return GRPC_PREFIX_BYTES + int.from_bytes(prefix[1:GRPC_PREFIX_BYTES], "big")

    def _message_size(self) -> int:
        """The size that the body announces in the prefix of its message; 0 if it is not gRPC."""
        is_grpc = self.headers.get(b"content-type", b"").startswith(b"application/grpc")
        return self._framed_size() if is_grpc else 0

    def _announced_size(self) -> int:
        length = self.headers.get(b"content-length", b"")
        return int(length[:_LENGTH_DIGITS]) if length.isdigit() else 0

    async def part(self) -> bytes:
        """The next part of the body; empty after the last one. Raises ClientGoneError.

        The client may send more only as parts are taken.
        """
        while not self._chunks and not self.has_all:
            await self._wait_for_change()
        if self._memory is not None:  # parts are taken: only what has arrived counts, and only until it is taken
            self._release_memory(self._memory)
            size = sum(map(len, self._chunks))
            self._budget.used += size
            self.held += size
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
        budget = self._budget
        if self.has_all:
            self._free_chunks()
            budget.used -= self.held
            self.held = 0
            if self._memory is not None:
                self._memory.release()
                self._memory = None
        try:
            self.charge(size)
        finally:  # not earlier: bodies that wait must not take the memory of this response
            if budget.waiting:
                budget.resume_waiting()

    def charge(self, size: int) -> None:
        """Count bytes made of the request, until the exchange is over. Raises BudgetExceededError if they are too many."""
        self._budget.reserve(size, self.held if self._memory is None else self.held + self._memory.reserved)
        self.held += size


def _join(chunks: list[bytes | bytearray]) -> bytes:
    """The chunks in one piece; the bytearrays among them become bytes."""
    for at, chunk in enumerate(chunks):
        if isinstance(chunk, bytearray):
            chunks[at] = bytes(chunk)
            yield_to_loop()
    return b"".join(chunks)  # without Python's lock, as all are bytes
