"""The tasks that serve requests: how they begin, and how they are cancelled when their client has left.

The application may serve a request without a task. A task costs as much as converting a small request and its answer.

A task usually takes its first step in the next iteration of the event loop. A request that is alone begins at once: no
other request is around that it could share work with, so that waiting for the next iteration would only cost time.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import time
from collections.abc import Awaitable, Collection, Coroutine, Generator
from contextvars import copy_context
from functools import partial
from typing import Any

from tfsctl.server.http.exchange import Application, Exchange, Work
from tfsctl.server.process.loop_turns import FEW, LoopTurns
from tfsctl.server.process.shutdown import RunningRequests
from tfsctl.server.request_context import current_request

log = logging.getLogger(__name__)

_CANCELS_PER_TURN = 64  # a cancelled task costs some 20 us to unwind
_STARTS_PER_TURN = 256
_QUIET_S = 0.002  # after which a request of another connection counts as alone


class RequestTasks:
    """The tasks of all requests of a listener, which has these open connections, and counts its requests in `running`.

    A client that leaves thousands of calls behind does not hold the event loop for all of them: tasks are cancelled a
    few in each iteration.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        application: Application,
        connections: Collection[object],
        running: RunningRequests,
    ) -> None:
        self._loop, self._application, self._connections, self._running = loop, application, connections, running
        self._last_connection: object = None
        self._last_end_s = 0.0
        self._was_repeated = False
        self._alone: Exchange | None = None
        self._cancels = LoopTurns(loop, _CANCELS_PER_TURN)
        self.turns = LoopTurns(loop, _STARTS_PER_TURN)
        """For requests that come when a turn of the event loop has taken long."""

    def start(self, exchange: Exchange, *, is_only: bool) -> None:
        """Let the application serve a request.

        `is_only` tells that it is the only request of its connection. It is alone if, besides,
        - no other connection is open, or
        - the last two requests came on its connection too, or
        - no request was answered within the last two milliseconds.

        It stays alone until another request begins. If this turn of the event loop has taken long, the request waits for
        one of the next.
        """
        self._running.running += 1
        turns = self.turns
        turns.count += 1
        if turns.count >= FEW and turns.is_over():  # `is_over` checks it, too: this saves the call
            turns.wait(partial(self._start_late, exchange))
        else:
            self._start(exchange, is_only=is_only)

    def _start_late(self, exchange: Exchange) -> None:
        if exchange.is_gone:
            self.end(exchange)
        else:
            self._start(exchange, is_only=False)

    def _start(self, exchange: Exchange, *, is_only: bool) -> None:
        if self._alone is not None:
            self._alone.is_alone = False
            self._alone = None
        connection = exchange.client
        is_repeated = connection is self._last_connection
        is_alone = is_only and (
            len(self._connections) == 1
            or (is_repeated and self._was_repeated)
            or time.monotonic() - self._last_end_s >= _QUIET_S
        )
        self._last_connection, self._was_repeated = connection, is_repeated
        if is_alone:
            exchange.is_alone = True
            self._alone = exchange
        try:
            serving = self._application(exchange)
        except Exception:  # as in `_serve`
            log.exception("A request failed: %s", exchange.target)
            self.end(exchange)
            return
        if serving is not None:
            self.spawn(exchange, serving)

    def spawn(self, exchange: Exchange, serving: Awaitable[None]) -> None:
        """Serve a request by a task, which awaits `serving`."""
        work = self._serve(exchange, serving)
        if exchange.is_alone and exchange.has_all:
            exchange.task = _begin(self._loop, work)
        else:
            exchange.task = self._loop.create_task(work)

    async def _serve(self, exchange: Exchange, serving: Awaitable[None]) -> None:
        current_request.set(exchange)
        try:
            await serving
        except Exception:  # the last resort for bugs: the transport ends the exchange
            log.exception("A request failed: %s", exchange.target)
        finally:
            self.end(exchange)

    def end(self, exchange: Exchange) -> None:
        """The application is done with a request."""
        self._running.running -= 1
        self._last_end_s = time.monotonic()
        if self._alone is exchange:
            self._alone = None
        exchange.task = None  # its context refers to the exchange: no cycle for the garbage collector
        exchange.on_served()

    def forget(self, connection: object) -> None:
        """Keep no reference to a connection that is closed."""
        if self._last_connection is connection:
            self._last_connection = None

    def cancel(self, task: Work) -> None:
        """Cancel what serves a request soon: at most 64 are cancelled in one turn of the loop."""
        self._cancels.wait(partial(self._cancel, task))

    def _cancel(self, task: Work) -> None:
        if _has_begun(task):
            task.cancel()
        else:
            self.cancel(task)  # cancelled now, it would never reach its `finally`


def _has_begun(work: Work) -> bool:
    """Whether the coroutine of a task has taken its first step. Other work has always begun."""
    coroutine = work.get_coro() if isinstance(work, asyncio.Task) else None
    return not inspect.iscoroutine(coroutine) or inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED


class _StartedCoroutine(Coroutine[Any, None, None]):
    """A coroutine that was begun outside of a task, and waits for `future`."""

    def __init__(self, coroutine: Coroutine[Any, None, None], future: object) -> None:
        self._coroutine, self._future = coroutine, future

    def send(self, value: None) -> object:
        """Go on, or tell a task that has just begun what the coroutine waits for."""
        if self._future is None:
            return self._coroutine.send(value)
        future, self._future = self._future, None
        return future

    def throw(self, *error: Any) -> object:  # noqa: ANN401 - what a coroutine takes
        """Raise an exception where the coroutine waits."""
        self._future = None
        try:
            return self._coroutine.throw(*error)
        finally:
            del error  # its traceback refers to this frame, and to the request: no cycle for the garbage collector

    def close(self) -> None:
        """End the coroutine."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, None, None]:
        return self._coroutine.__await__()


if sys.version_info >= (3, 12):

    def _begin(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, None, None]) -> asyncio.Task[None] | None:
        """Run a coroutine up to its first wait; the task for the rest, None if the coroutine has ended."""
        task = asyncio.Task(coroutine, loop=loop, eager_start=True)
        return None if task.done() else task

else:

    def _begin(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, None, None]) -> asyncio.Task[None] | None:
        """Run a coroutine up to its first wait; the task for the rest, None if the coroutine has ended."""
        context = copy_context()
        try:
            future = context.run(coroutine.send, None)
        except StopIteration:
            return None
        return context.run(loop.create_task, _StartedCoroutine(coroutine, future))
