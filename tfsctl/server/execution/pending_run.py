"""A request that waits for its run, and the codecs of requests that are converted many at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ref

import numpy as np

from tfsctl.core.arrays import content_bytes
from tfsctl.server.execution.stacked_run import Stack, run_timeout_ms
from tfsctl.server.runtime.session import Arrays, Endpoint, Feeds, Session
from tfsctl.server.status import Code, ServingError

if TYPE_CHECKING:
    from typing_extensions import Self

_MAX_COUNTED_STRINGS = 32 * 1024  # more take milliseconds, and are no small run whatever they contain
SMALL_BYTES, SMALL_ROWS = 256 * 1024, 128  # a larger run does not measure the model, and runs in a thread
_STEPS_PER_S = 64
_MIN_SETS = 64  # of requests that share a step; fewer are not worth a look
_EXPIRED_PER_ITERATION = 64  # of the event loop: thousands of requests may have the same deadline

_MAX_SETTLED = 128  # requests of a batch that go on in one iteration of the loop, each for some 30 us


class Codec(Protocol):
    """Converts the payloads of many requests of one kind to tensors at once, and their outputs to answers.

    A codec is for one signature and one number of rows: requests with the same codec may be stacked.
    """

    @property
    def feeds(self) -> Sequence[Endpoint]:
        """The inputs of the graph, in the order of the arrays that `decode` returns."""

    @property
    def fetches(self) -> Sequence[Endpoint]:
        """The outputs of the graph that the answers are made from."""

    @property
    def timing_key(self) -> Hashable:
        """Equal for codecs whose requests with about as many bytes take about the same time to run."""

    def decode(self, payloads: Sequence[Any]) -> Arrays | None:
        """One array for each feed, with the requests along its first axis; None if the payloads cannot be stacked."""

    def encode(self, outputs: Stack) -> Sequence[Any] | asyncio.Future[Sequence[Any]]:
        """The answer (or the exception) of each request. Large outputs may be converted in a thread."""


class AloneCodec(Codec, Protocol):
    """A codec that can also run one request, in fewer steps than a batch."""

    @property
    def answer_alone(self) -> Callable[[Session, Any], object]:
        """Runs the payload of one request in this thread, and returns its answer, or its outputs as a list of arrays.

        Returns None if the payload cannot be converted this way: the request has to be submitted.
        """


class PendingRun:
    """A request that waits for its run. `answer` is to be set before it is submitted to a queue.

    A DirectRun, which has no such future, has its own `is_done` and `settle`.

    `payload` is the arrays of its feeds, in order, or what its codec converts to them. `merge_key` is equal for requests
    whose rows may be merged, None if they may not be. `deadline_s` is a time.monotonic() moment. Set before a request is
    submitted: `client` identifies its connection, `is_alone` tells that no other request is around.
    """

    __slots__ = (
        "answer",
        "client",
        "codec",
        "deadline_s",
        "due",
        "feeds",
        "fetches",
        "is_alone",
        "is_queued",
        "is_waiting",
        "key",
        "merge_key",
        "nbytes",
        "payload",
        "rows",
    )

    def __init__(
        self,
        feeds: Sequence[Endpoint],
        fetches: Sequence[Endpoint],
        payload: object,
        *,
        rows: int,
        nbytes: int,
        merge_key: object = None,
        deadline_s: float | None = None,
        codec: Codec | None = None,
    ) -> None:
        self.feeds, self.fetches = feeds, fetches
        self.payload: Any = payload
        """Arrays, or what the codec takes."""
        self.rows, self.nbytes, self.merge_key = rows, nbytes, merge_key
        self.deadline_s, self.codec = deadline_s, codec
        self.client: object = None
        self.is_alone = False
        self.key: object = merge_key or codec or (*feeds, *fetches)
        """Equal for requests that may be in one batch."""
        self.answer: asyncio.Future[Any]
        self.is_queued = False
        """Whether it is in a FairQueue."""
        self.is_waiting = False
        """Whether it counts as waiting: from its submission until its run begins."""
        self.due: set[PendingRun] | None = None
        """Those that have about the same deadline, if it is watched."""

    @classmethod
    def of_feeds(
        cls,
        feeds: Feeds,
        fetches: Sequence[Endpoint],
        *,
        may_merge: bool,
        deadline_s: float | None = None,
    ) -> Self:
        """A request whose tensors have been converted already."""
        endpoints, arrays = [endpoint for endpoint, _ in feeds], [array for _, array in feeds]
        nbytes = sum([_string_bytes(array) if array.dtype.char == "O" else array.nbytes for array in arrays])
        shape = arrays[0].shape if arrays else ()
        rows = shape[0] if shape else 1
        merge_key = _merge_key(fetches, arrays, rows) if may_merge and shape and rows else None
        return cls(endpoints, fetches, arrays, rows=rows, nbytes=nbytes, merge_key=merge_key, deadline_s=deadline_s)

    @classmethod
    def of_payload(
        cls, payload: object, codec: Codec, *, rows: int, nbytes: int, may_merge: bool, deadline_s: float | None
    ) -> Self:
        """A request whose payload of `nbytes` its codec converts, together with those of others."""
        return cls(
            codec.feeds,
            codec.fetches,
            payload,
            rows=rows,
            nbytes=nbytes,
            merge_key=codec if may_merge else None,
            deadline_s=deadline_s,
            codec=codec,
        )

    @property
    def kind(self) -> tuple[Endpoint, ...]:
        """Equal for requests with the same feeds and fetches."""
        return (*self.feeds, *self.fetches)

    def array_feeds(self) -> Feeds:
        """The feeds of a request without a codec."""
        return list(zip(self.feeds, self.payload, strict=True))

    @property
    def is_small(self) -> bool:
        """Whether its run is small enough to measure the model by."""
        return self.nbytes < SMALL_BYTES and self.rows <= SMALL_ROWS

    @property
    def timeout_ms(self) -> int:
        """How long the run of this request alone may take, as `run_timeout_ms` says."""
        return run_timeout_ms([self.deadline_s])

    @property
    def is_done(self) -> bool:
        """Whether it has an answer, or no caller waits for one."""
        return self.answer.done()

    def settle(self, outcome: object) -> None:
        """Give the answer, or raise the exception where it is awaited, unless that was done before."""
        if self.due is not None:
            self.due.discard(self)
        answer = self.answer
        if answer.done():
            return
        if isinstance(outcome, BaseException):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)


class Deadlines:
    """Calls `expire` with each request that has no answer at its deadline, up to 1/64 s later.

    Requests that are due within the same 1/64 s are one set, and one timer waits for the first of the sets: a timer for
    each request costs a tenth of what a small one does. Sets whose requests have all been answered are dropped whenever
    there are twice as many sets as after the last time: most requests are answered long before their deadlines.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[PendingRun], None]) -> None:
        self._loop, self._expire = loop, expire
        self._due: dict[int, set[PendingRun]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_step = 0
        self._max_sets = _MIN_SETS  # before those without requests are dropped

    def watch(self, run: PendingRun, deadline_s: float) -> None:
        """Watch a request until it is settled or cancelled."""
        step = int(deadline_s * _STEPS_PER_S) + 1
        due = self._due.get(step)
        if due is None:
            due = self._add(step)
        due.add(run)
        run.due = due

    def _add(self, step: int) -> set[PendingRun]:
        if len(self._due) >= self._max_sets:
            self._drop_empty()
        added: set[PendingRun] = set()
        self._due[step] = added
        if self._timer is None or step < self._timer_step:
            self._wait_for(step)
        return added

    def _wait_for(self, step: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # A weak reference: the timer of a version that is unloaded meanwhile keeps nothing of it.
        self._timer = self._loop.call_later(step / _STEPS_PER_S - time.monotonic(), _end_step, ref(self))
        self._timer_step = step

    def end_step(self) -> None:
        """Expire the requests of the step that the timer waited for, and wait for the next one that has requests."""
        self._timer = None
        self._expire_some(self._due.pop(self._timer_step, set()))
        self._drop_empty()
        if self._due:
            self._wait_for(min(self._due))

    def _drop_empty(self) -> None:
        self._due = {step: due for step, due in self._due.items() if due}
        self._max_sets = max(_MIN_SETS, 2 * len(self._due))

    def _expire_some(self, due: set[PendingRun]) -> None:
        for _ in range(min(len(due), _EXPIRED_PER_ITERATION)):
            self._expire(due.pop())
        if due:
            self._loop.call_soon(self._expire_some, due)


def _end_step(deadlines: ref[Deadlines]) -> None:
    watching = deadlines()
    if watching is not None:
        watching.end_step()


def deadline_exceeded() -> ServingError:
    """The error of a request whose deadline has passed."""
    return ServingError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")


def settle_all(runs: Sequence[PendingRun], outcomes: Sequence[Any]) -> None:
    """Give each request its answer or exception, to some in each iteration of the loop: they all go on at once."""
    for run, outcome in zip(runs[:_MAX_SETTLED], outcomes[:_MAX_SETTLED], strict=True):
        run.settle(outcome)
    if len(runs) > _MAX_SETTLED:
        asyncio.get_running_loop().call_soon(settle_all, runs[_MAX_SETTLED:], outcomes[_MAX_SETTLED:])


def encode_answers(runs: Sequence[PendingRun], codec: Codec, outputs: Stack) -> None:
    """Answer requests with what their codec makes of the outputs."""
    try:
        answers = codec.encode(outputs)
    except Exception as error:  # noqa: BLE001 - the error is the answer to these requests
        answers = [error] * len(runs)
    if isinstance(answers, asyncio.Future):
        answers.add_done_callback(lambda done: settle_all(runs, _results(done, len(runs))))
    else:
        settle_all(runs, answers)


def _results(done: asyncio.Future[Sequence[Any]], count: int) -> Sequence[Any]:
    error = done.exception()
    return done.result() if error is None else [error] * count


def _string_bytes(strings: np.ndarray) -> int:
    """The bytes of strings, and of what refers to them; of very many strings estimated from some of them.

    Estimates need no exact limit: the bytes that a client sent are counted in the memory budget too.
    """
    if strings.size <= _MAX_COUNTED_STRINGS:
        return strings.nbytes + content_bytes(strings)
    step = strings.size // _MAX_COUNTED_STRINGS + 1
    return strings.nbytes + step * content_bytes(strings.reshape(-1)[::step])


def _merge_key(fetches: Sequence[Endpoint], arrays: Arrays, rows: int) -> object:
    """The key that two runs must share to be merged; None if this run cannot be merged: an input has another number of rows."""
    key: list[object] = [fetches]
    for array in arrays:  # generators take twice as long
        shape = array.shape
        if shape[:1] != (rows,):
            return None
        key += (array.dtype.char, shape[1:])
    return tuple(key)
