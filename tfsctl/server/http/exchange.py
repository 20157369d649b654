"""One request and its response as the application sees them, whichever version of HTTP carries them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from tfsctl.server.memory_budget import MemoryBudget
from tfsctl.server.request_body import RequestBody

SMALL_RESPONSE_BYTES = 64 * 1024
"""A larger response is counted in the memory budget, which may refuse it, and is not copied behind its head."""
NO_BODY = frozenset((204, 304))
"""Statuses of responses that never have a body."""
Pairs = tuple[tuple[bytes, bytes], ...]
"""Header or trailer fields as they are sent; names in lower case."""


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


class Exchange(RequestBody, ABC):
    """A request and its response. The transport calls the first group of methods, the application the others.

    Attributes:
        port: the port it came in by; None for a UNIX socket.
        target: the path with its query string, as it was sent.
        is_alone: whether no other request was around when this one began, and none has begun since.
        task: the task, or the object without a task, that serves the request, None before and after that.
        run: the run of a model that the request waits for, None before and after that.
    """

    __slots__ = ("is_alone", "method", "port", "run", "target", "task")

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
        super().__init__(loop, budget, client, headers)
        self.port, self.method, self.target = port, method, target
        self.is_alone = False
        self.task: Work | None = None
        self.run: WaitingRun | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the request waits for a run that has not begun."""
        return self.run is not None and self.run.is_waiting

    def refuse_waiting(self, error: Exception) -> None:
        """Answer a request that `is_waiting` with an error."""
        if self.run is not None:
            self.run.settle(error)

    def abort(self) -> None:
        """Give the exchange up: the client sees a broken connection or stream."""
        self.cancel()

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
