"""The memory held for clients. When it runs short, large bodies wait for it, and other requests are refused.

Every byte of a request's body, everything made of it (unpacked bodies, expanded tensors) and every response that a
client has not read yet is counted here until the request is over. A large body is read only as far as memory is reserved
for it (`BodyMemory`). While bodies hold a quarter of the budget, others wait, and the transport does not read them: the
rest is for what is made of the bodies, and for responses.
"""

from __future__ import annotations

import time
from typing import Protocol

from tfsctl.server.status import Code, ServingError

SMALL_BODY_BYTES = 65_535
"""A body of this announced size or less never waits. It is also the initial window of an HTTP/2 stream."""
READ_BYTES = 256 * 1024
"""The most that a socket's transport reads at once."""
_STEP_BYTES = 1024 * 1024
_SMALL_BYTES = 64 * 1024  # requests that hold no more have a quarter of the budget to themselves
_PROGRESS_BYTES = 64 * 1024  # of a body, from one check to the next
_MAX_GRANTS = 64  # to waiting bodies at once when memory is released


class BudgetExceededError(ServingError):
    """More memory would be held for clients than the budget allows."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            Code.RESOURCE_EXHAUSTED,
            f"The server holds too much for its clients to take {size} more bytes (limit: {limit} bytes in all)",
            retry_after_s=1 if size <= limit else None,
        )
        self.size, self.limit = size, limit


class BodyReceiver(Protocol):
    """The request of a large body."""

    client: object
    """Its connection. Connections whose bodies wait get memory in turn."""

    def on_memory_granted(self, size: int) -> None:
        """Memory for the next `size` bytes is reserved: read them."""

    def refuse_body(self, error: Exception) -> None:
        """Drop the body: there will never be enough memory for it."""


class MemoryBudget:
    """Counts the bytes held for all clients of one server. Used on the event loop only.

    Attributes:
        used: the bytes that are held, or reserved for bodies.
        beginnings: bytes of bodies that wait for their first memory. They are not part of `used`, so that bodies that
            wait take nothing from those that are served. They may be as many as `limit`.
        waiting: how many bodies wait for memory.
    """

    __slots__ = (
        "_arriving",
        "_bodies",
        "_first",
        "_growing",
        "_served",
        "_starting",
        "beginnings",
        "bodies_at",
        "limit",
        "step",
        "used",
        "waiting",
    )

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bodies_at = limit // 4
        """Above this, large bodies wait, except for one."""
        self.step = max(1, min(_STEP_BYTES, limit // 16))
        """How much memory a body gets at once, at least."""
        self.used = self.beginnings = self.waiting = 0
        self._arriving = 0  # of `used`: reserved for large bodies that have not arrived completely
        self._served = 0  # of `used`: large bodies that have arrived
        self._bodies: dict[BodyMemory, int] = {}  # those that have memory, and what had arrived at the last check
        self._growing: dict[BodyMemory, None] = {}  # bodies that wait for more memory, in order
        self._starting: dict[object, dict[BodyMemory, None]] = {}  # others that wait, by connection
        self._first: BodyMemory | None = None
        """The one body that gets memory up to `limit`, so that bodies that wait for each other cannot all stop."""

    def remove(self, size: int) -> None:
        """Subtract bytes that are no longer held, and resume bodies that waited for memory."""
        self.used -= size
        if self.waiting:
            self.resume_waiting()

    def reserve(self, size: int, held: int) -> None:
        """Count bytes that are about to be held for a request, which holds `held` already.

        Requests that hold little may go over the limit by a quarter, so that others' large ones do not shut them out.
        Raises BudgetExceededError, and counts nothing, if they are too many.
        """
        used = self.used + size
        if used > self.limit and (held + size > _SMALL_BYTES or used > self.limit + self.limit // 4):
            raise BudgetExceededError(size, self.limit)
        self.used = used

    def has_room_for_bodies(self, size: int) -> bool:
        """Whether a body may have `size` bytes more without others having to wait for memory."""
        return not self.waiting and self.used + size <= self.bodies_at

    def request(self, body: BodyMemory) -> bool:
        """Reserve more memory for a body. Returns False if the body has to wait, or is refused."""
        is_next = body is self._first or not (self._growing or (self._starting and not body.reserved))
        if is_next and self._grant(body):
            return True
        if is_next and self._never_fits(body):
            body.refuse(self.limit)
            return False
        if body.reserved:
            self._growing[body] = None
        else:
            self._starting.setdefault(body.client, {})[body] = None
        self._start_waiting(body)
        return False

    def _start_waiting(self, body: BodyMemory) -> None:
        self.waiting += 1
        body.start_waiting()

    def take_from_stalled(self) -> None:
        """Take the memory that bodies do not use, if others wait for it: call it about once a second.

        Of a body of which less than 64 KiB has arrived since the last call, only what has arrived stays reserved. It
        gets more when it is its turn again.
        """
        stalled = [body for body, had in self._bodies.items() if body.arrived - had < _PROGRESS_BYTES]
        for body in stalled if self.waiting else ():
            if not body.is_waiting and body.arrived < body.reserved:
                unused = body.reserved - body.arrived
                body.reserved -= unused
                self._arriving -= unused
                self.used -= unused
                self._starting.setdefault(body.client, {})[body] = None
                self._start_waiting(body)
            if body is self._first:
                self._first = None
        for body in self._bodies:
            self._bodies[body] = body.arrived
        self.resume_waiting()

    def resume_waiting(self) -> None:
        """Reserve memory for the bodies that wait, in turn, as far as there is some."""
        for _ in range(_MAX_GRANTS):
            body = self._next_body()
            if body is None:
                return
            had = body.reserved
            if self._grant(body):
                self._dequeue(body)
                body.stop_waiting(body.reserved - had)
            elif self._never_fits(body):
                body.refuse(self.limit)
            else:
                return

    def _next_body(self) -> BodyMemory | None:
        """The next body to get memory: of those that have some already, then of the connections in turn."""
        if self._first is not None and self._first.is_waiting:
            return self._first
        if self._growing:
            return next(iter(self._growing))
        if self._starting:
            return next(iter(next(iter(self._starting.values()))))
        return None

    def _grant(self, body: BodyMemory) -> bool:
        """Reserve the next part of a body if there is memory for it."""
        size = body.next_bytes(self.step)
        ahead = max(size, body.ahead_bytes())
        if self.used + ahead <= self.bodies_at:
            size = ahead
        elif self.used + size > self.bodies_at:
            if self._first not in (None, body) or self._served > self.bodies_at or self.used + size > self.limit:
                return False
            self._first = body
        self.used += size
        self._arriving += size
        self._bodies[body] = body.arrived - _PROGRESS_BYTES  # it has the time until the check after the next
        self.beginnings -= body.beginning
        body.beginning = 0
        body.reserved += size
        return True

    def _never_fits(self, body: BodyMemory) -> bool:
        """Whether no end of a running request can make room for a body: the bodies that arrive take the whole budget."""
        return self._first in (None, body) and self._arriving + body.next_bytes(self.step) > self.limit

    def _dequeue(self, body: BodyMemory) -> None:
        self.waiting -= 1
        if body in self._growing:
            del self._growing[body]
            return
        bodies = self._starting.pop(body.client)
        del bodies[body]
        if bodies:
            self._starting[body.client] = bodies  # behind the other connections

    def add_to_arriving(self, body: BodyMemory, size: int) -> None:
        """Count bytes that have arrived beyond what was reserved. Raises BudgetExceededError if they are too many."""
        self.reserve(size, body.reserved)
        self._arriving += size
        body.reserved += size

    def end_arrival(self, body: BodyMemory, kept: int) -> None:
        """A body needs no more memory than the `kept` bytes: it is complete, or dropped (0)."""
        if body.is_waiting:
            self._dequeue(body)
            body.is_waiting = False
        self.beginnings -= body.beginning
        body.beginning = 0
        self._bodies.pop(body, None)
        self._arriving -= body.reserved
        self._served += kept
        self.used += kept - body.reserved
        body.reserved = kept
        if body is self._first:
            self._first = None

    def end_service(self, body: BodyMemory) -> None:
        """A body that was complete is not needed any more."""
        self._served -= body.reserved
        self.used -= body.reserved
        body.reserved = 0


class BodyMemory:
    """The memory of one large body: how much of it may be read.

    Memory is reserved in parts, ahead of what arrives: at least `MemoryBudget.step`, as much as has arrived already if
    there is enough, and never more than was announced. So a client that sends nothing holds little.

    Attributes:
        client: the connection of the body.
        arrived: bytes of the body that have arrived.
        reserved: bytes of the body that may be read.
        beginning: bytes that arrived before any memory was reserved, while the body waits.
        is_waiting: whether the body waits for memory.
    """

    __slots__ = (
        "_announced",
        "_budget",
        "_is_complete",
        "_receiver",
        "_since_s",
        "_waited_s",
        "arrived",
        "beginning",
        "client",
        "is_waiting",
        "reserved",
    )

    def __init__(self, budget: MemoryBudget, receiver: BodyReceiver, announced: int | None) -> None:
        """A body of `announced` bytes; None if its length is not known."""
        self._budget, self._receiver, self._announced = budget, receiver, announced
        self.client = receiver.client
        self.arrived = self.reserved = self.beginning = 0
        self._is_complete = self.is_waiting = False
        self._waited_s = self._since_s = 0.0

    def begin(self, arrived: int, buffered: int) -> None:
        """Ask for memory for the first part. `arrived` bytes have been read, `buffered` are in the transport's buffer.

        Raises BudgetExceededError if the body would have to wait, and the beginnings of others are too many.
        """
        self.arrived, self.beginning = arrived, arrived + buffered
        self._budget.beginnings += self.beginning
        self._request()
        self._check_beginnings()

    def take(self, size: int) -> None:
        """`size` more bytes have arrived. Raises BudgetExceededError if they are too many."""
        arrived = self.arrived = self.arrived + size
        left = self.reserved - arrived
        is_whole = self._announced is not None and self.reserved >= self._announced
        if left >= READ_BYTES or (is_whole and left >= 0):
            return
        if not self.reserved:
            self._budget.beginnings += size
            self.beginning += size
            self._check_beginnings()
        elif left < 0:  # more than the transport could know
            self._budget.add_to_arriving(self, -left)
        if not (is_whole or self.is_waiting):
            self._request()

    def _request(self) -> None:
        had = self.reserved
        if self._budget.request(self):
            self._receiver.on_memory_granted(self.reserved - had)

    def _check_beginnings(self) -> None:
        budget = self._budget
        if self.beginning and budget.beginnings > budget.limit:
            raise BudgetExceededError(self.beginning, budget.limit)

    def next_bytes(self, step: int) -> int:
        """The least that the body needs next."""
        size = max(step, self.beginning)
        return size if self._announced is None else min(size, max(1, self._announced - self.reserved))

    def ahead_bytes(self) -> int:
        """As much as has arrived, within what was announced."""
        left = self.arrived if self._announced is None else self._announced - self.reserved
        return min(self.arrived, left)

    def waited_s(self) -> float:
        """How long the body has waited for memory."""
        return self._waited_s + (time.monotonic() - self._since_s if self.is_waiting else 0.0)

    def start_waiting(self) -> None:
        """The budget has queued the body."""
        self.is_waiting = True
        self._since_s = time.monotonic()

    def stop_waiting(self, granted: int) -> None:
        """The body waited, and the budget has now reserved `granted` more bytes for it."""
        self.is_waiting = False
        self._waited_s += time.monotonic() - self._since_s
        self._receiver.on_memory_granted(granted)

    def refuse(self, limit: int) -> None:
        """There will never be enough memory."""
        self._receiver.refuse_body(BudgetExceededError(self.next_bytes(0), limit))

    def complete(self) -> None:
        """All of the body has arrived: give back what was reserved beyond that."""
        if not self._is_complete:
            self._is_complete = True
            self._budget.end_arrival(self, self.arrived)
            self._budget.resume_waiting()

    def release(self) -> None:
        """The body is dropped. Call `MemoryBudget.resume_waiting` then."""
        if self._is_complete:
            self._budget.end_service(self)
        else:
            self._is_complete = True
            self._budget.end_arrival(self, 0)
