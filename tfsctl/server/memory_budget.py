"""The memory held for clients, and which connections have to wait, or are refused, when it runs short.

Every byte of a request's body, everything made of it (unpacked bodies, expanded tensors) and every answer that a client
has not read yet is counted here until the request is over. Above half of the budget, connections that already hold more
than their share are not read from, except the one that has waited longest, so that at least one body is always
completed. Above the whole budget, requests are refused.
"""

from __future__ import annotations

from collections.abc import Callable

from tfsctl.server.status import Code, ServingError

_MIN_SHARE_BYTES = 16 * 1024
_SMALL_BYTES = 64 * 1024  # requests that hold no more have a quarter of the budget to themselves
_MAX_WAKES = 16  # connections that are read from again at once when memory is released

Waiter = Callable[[], None]


class BudgetExceededError(ServingError):
    """More memory would be held for clients than the budget allows."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            Code.RESOURCE_EXHAUSTED,
            f"The server holds too much for its clients to take {size} more bytes (limit: {limit} bytes in all)",
            retry_after_s=1 if size <= limit else None,
        )
        self.size, self.limit = size, limit


class MemoryBudget:
    """Counts the bytes held for all clients of one server. Used on the event loop only."""

    __slots__ = ("limit", "tight_at", "used", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.tight_at = limit // 2
        """Above this, connections that hold more than their share have to wait."""
        self.used = 0
        self.waiting: dict[object, Waiter] = {}  # connections that are not read from, the oldest first

    def remove(self, size: int) -> None:
        """Subtract bytes that are no longer held, and resume connections that waited for memory."""
        self.used -= size
        if self.waiting:
            self.resume_waiting()

    def resume_waiting(self) -> None:
        """Resume the connections that have waited longest, if the memory allows it."""
        if self.used <= self.tight_at:
            for _ in range(min(_MAX_WAKES, len(self.waiting))):
                self.waiting.pop(next(iter(self.waiting)))()

    def reserve(self, size: int, held: int) -> None:
        """Count bytes that are about to be held for a request, which holds `held` already.

        Requests that hold little may go over the limit by a quarter, so that others' large ones do not shut them out.
        Raises BudgetExceededError, and counts nothing, if they are too many.
        """
        used = self.used + size
        if used > self.limit and (held + size > _SMALL_BYTES or used > self.limit + self.limit // 4):
            raise BudgetExceededError(size, self.limit)
        self.used = used

    def must_wait(self, connection: object, held: int, resume: Waiter, *, connections: int) -> bool:
        """Whether a connection that holds so much may not be read from now; if so, `resume` is called later, once.

        `connections` is how many there are: each has an equal share.
        """
        if self.used <= self.tight_at or held <= max(_MIN_SHARE_BYTES, self.tight_at // max(1, connections)):
            return False
        if connection not in self.waiting:
            self.waiting[connection] = resume
        return next(iter(self.waiting)) is not connection

    def stop_waiting(self, connection: object) -> None:
        """A connection's body is complete, or it is closed: another connection may be read from instead."""
        waiting = self.waiting
        if not waiting:
            return
        was_first = next(iter(waiting)) is connection
        waiting.pop(connection, None)
        if was_first and waiting:
            next(iter(waiting.values()))()
