"""One loaded version of a model: runs its graph for requests, and closes it after the last one.

A request is served by a task, which awaits `run` or `run_payload`, or without one, by a DirectRun.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Protocol

from tfsctl.server.execution.pending_run import AloneCodec, Codec, PendingRun, encode_answers
from tfsctl.server.execution.stacked_run import Stack
from tfsctl.server.request_context import current_request
from tfsctl.server.runtime.session import Arrays, BoundSignature, Endpoint, Feeds, Session

log = logging.getLogger(__name__)

_MAX_CODECS = 64  # of a servable: clients may send ever new shapes and numbers of rows


class RunQueue(Protocol):
    """Where requests for a session wait for their run: a RequestCoalescer, or TensorFlow Serving's batching."""

    accepts_codecs: bool
    """Whether requests with a Codec may be submitted."""

    @property
    def has_runs(self) -> bool:
        """Whether runs go on in threads. Those of requests that were cancelled do, too."""

    def submit(self, run: PendingRun) -> None:
        """Queue a request. Raises ServingError if it is refused."""

    def answer_at_once(self, codec: AloneCodec, payload: object, nbytes: int) -> object:
        """Run a request that is alone, on this thread, if it need not wait. Only if `accepts_codecs`.

        Returns its answer, its outputs as a list of arrays, an exception, or None if it has to be submitted.
        """

    def cancel(self, run: PendingRun) -> None:
        """Forget a request that nobody waits for any more."""

    def run_now(self, feeds: Feeds, fetches: Sequence[Endpoint]) -> Arrays:
        """Run on this thread, regardless of the queue, and return the fetched arrays."""

    def close(self) -> bool:
        """End everything that runs the session. Nothing may be submitted any more. Returns whether all has ended."""


class Servable:
    """A version that answers requests. It counts those that are in flight, and is closed when there are none.

    `row_independent` are the signatures whose rows do not affect each other: their runs may be merged.
    """

    def __init__(
        self, name: str, version: int, session: Session, row_independent: Collection[str], queue: RunQueue
    ) -> None:
        self.name = name
        self.version = version
        self.session = session
        self.accepts_codecs = queue.accepts_codecs
        self.codecs: dict[object, Codec] = {}
        """A cache for the REST and gRPC adapters, which make them; it lasts as long as the version is loaded."""
        self.metadata_json = b""
        """The REST API's answer to a request for metadata, once it was written: that takes some milliseconds."""
        self._row_independent = frozenset(row_independent)
        self._in_flight = 0
        self._drained: asyncio.Event | None = None
        self._queue = queue

    def signature(self, name: str) -> BoundSignature | None:
        """The signature of that name, or None."""
        return self.session.signature(name)

    def add_codec(self, key: object, codec: Codec) -> None:
        """Put a codec into the cache, which is cleared when it is full."""
        if len(self.codecs) >= _MAX_CODECS:
            self.codecs.clear()
        self.codecs[key] = codec

    def run(
        self, feeds: Feeds, fetches: Sequence[Endpoint], *, deadline_s: float | None, signature: str = ""
    ) -> Coroutine[Any, Any, Arrays]:
        """Run the graph and return the fetched arrays, in order.

        `deadline_s` is a time.monotonic() moment; after it, DEADLINE_EXCEEDED is raised. `signature` is the name of the
        signature if all feeds and fetches belong to one.
        """
        return self._wait_for(
            PendingRun.of_feeds(feeds, fetches, may_merge=self.may_merge(signature), deadline_s=deadline_s)
        )

    def run_payload(
        self,
        payload: object,
        codec: Codec,
        *,
        rows: int,
        nbytes: int,
        deadline_s: float | None,
        signature: str,
    ) -> Coroutine[Any, Any, Any]:
        """Run a signature for a payload that is converted together with others, and return the codec's answer.

        Returns None if the payload could not be converted together with others. Only if `accepts_codecs`.
        """
        may_merge = self.may_merge(signature)
        return self._wait_for(
            PendingRun.of_payload(payload, codec, rows=rows, nbytes=nbytes, may_merge=may_merge, deadline_s=deadline_s)
        )

    def may_merge(self, signature: str) -> bool:
        """Whether the rows of several requests for a signature may be merged into one run."""
        return signature in self._row_independent

    async def _wait_for(self, run: PendingRun) -> Any:  # noqa: ANN401 - arrays, or what the codec makes
        """Queue the run of the current request and wait for its answer. The session is not closed before that."""
        request = current_request.get()
        if request is not None:
            run.client, run.is_alone = request.client, request.is_alone
            request.run = run
        answer = run.answer = asyncio.get_running_loop().create_future()
        try:
            self.submit(run)
            return await answer
        finally:
            self.finish(run)
            if request is not None:
                request.run = None  # its error refers to this frame: no cycle for the garbage collector

    def submit(self, run: PendingRun) -> None:
        """Queue a request. The session is not closed before `finish`. Raises ServingError if the request is refused."""
        self._in_flight += 1
        self._queue.submit(run)

    def finish(self, run: PendingRun) -> None:
        """Forget a request that has its answer or was refused, or that no caller waits for any more."""
        if run.is_waiting:
            self._queue.cancel(run)
        self._in_flight -= 1
        if self._drained is not None and not self._in_flight:
            self._drained.set()

    def answer_at_once(self, codec: AloneCodec, payload: object, nbytes: int) -> object:
        """Run a request that is alone, as `answer_at_once` of the RunQueue does. Nothing waits, so `drain` need not know."""
        return self._queue.answer_at_once(codec, payload, nbytes)

    def encode(self, run: PendingRun, codec: Codec, outputs: Arrays) -> None:
        """Answer a request whose run has ended. The session is not closed before `finish`."""
        self._in_flight += 1
        encode_answers([run], codec, Stack.of_requests([outputs]))

    def run_now(self, feeds: Feeds, fetches: Sequence[Endpoint]) -> Arrays:
        """Run the graph on this thread, regardless of the queue, and return the fetched arrays, in order."""
        return self._queue.run_now(feeds, fetches)

    @property
    def has_runs(self) -> bool:
        """Whether runs go on in threads, possibly without a request that waits for them."""
        return self._queue.has_runs

    async def drain(self) -> None:
        """Wait for the last request. Its run may go on if it was cancelled."""
        self._drained = asyncio.Event()
        if self._in_flight:
            await self._drained.wait()

    def close(self) -> None:
        """Free the session after the last run, unless a run of it cannot be ended. It cannot be used any more."""
        if self._queue.close():
            self.session.close()


class DirectExchange(Protocol):
    """The exchange of a request that is served without a task (`http/exchange.py`)."""

    client: object
    target: str
    is_alone: bool
    is_gone: bool
    task: Any
    run: Any

    def end_service(self) -> None:
        """The request has been served."""


class DirectRun(PendingRun):
    """The run of a request that is served without a task, whose outcome goes to a function instead of a future.

    While it waits it is the `task` of its exchange, which is to cancel it if the client leaves.
    """

    __slots__ = ("_finish", "exchange", "is_done", "servable")

    is_done: bool
    """Whether it has an outcome, or the client has left."""

    def begin(
        self,
        exchange: DirectExchange,
        servable: Servable,
        finish: Callable[[DirectRun, Any], object],
        *,
        outputs: Arrays | None = None,
    ) -> None:
        """Queue the run. `finish` is called with its outcome, possibly before this returns, unless the client leaves.

        `finish` has to send the response. The outcome is the arrays or the codec's answer, or an exception. If the run
        has ended already, `outputs` are its arrays, which the codec converts.
        """
        self.exchange, self.servable, self._finish = exchange, servable, finish
        self.client, self.is_alone = exchange.client, exchange.is_alone
        self.is_done = False
        exchange.task = exchange.run = self
        try:
            if outputs is None or self.codec is None:
                servable.submit(self)
            else:
                servable.encode(self, self.codec, outputs)
        except Exception as error:  # noqa: BLE001 - the error is the answer to this request
            self.settle(error)

    def settle(self, outcome: object) -> None:
        """Send the answer or the error, unless that was done before."""
        if self.due is not None:
            self.due.discard(self)
        if self.is_done:
            return
        self.is_done = True
        self.servable.finish(self)
        exchange = self.exchange
        exchange.run = None
        try:
            if exchange.is_gone:
                exchange.end_service()
            else:
                self._finish(self, outcome)
        except Exception:  # a bug: the other requests of the batch are answered nevertheless
            log.exception("A request failed: %s", exchange.target)
            if exchange.task is self:
                exchange.end_service()

    def cancel(self) -> None:
        """The client has left."""
        self.settle(None)
