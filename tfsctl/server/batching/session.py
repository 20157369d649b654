"""TensorFlow Serving's batching: requests for the same tensors wait for each other and run as one.

Rules and messages: tensorflow_serving/batching/batching_session.cc.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import numpy as np

from tfsctl.server.batching.parameters import BatchingParameters
from tfsctl.server.batching.scheduler import BatchQueue, BatchScheduler, Task
from tfsctl.server.batching.tensors import merged, rows_of, split
from tfsctl.server.monitoring.recorder import Recorder
from tfsctl.server.runtime.run_timing import RunTiming
from tfsctl.server.runtime.session import Arrays, BoundSignature, Endpoint, Feeds, Session
from tfsctl.server.status import Code, ServingError

_MANY_QUEUES = 64  # clients may fetch outputs in ever new combinations: beyond these, idle queues are not kept


class Batching:
    """Runs one session in batches. Where one row of a batch fails, the whole batch fails."""

    def __init__(
        self, session: Session, parameters: BatchingParameters, scheduler: BatchScheduler, recorder: Recorder
    ) -> None:
        self._recorder = recorder
        self._parameters = parameters
        self._scheduler = scheduler
        self.timing = RunTiming()
        self._session = session
        self._queues: dict[object, BatchQueue] = {}
        self._running = 0
        self._changed = threading.Condition()

    def submit(
        self,
        feeds: Feeds,
        fetches: Sequence[Endpoint],
        *,
        deadline_s: float | None,
        merge_key: object = None,
        is_stack: bool = False,
    ) -> asyncio.Future[Arrays]:
        """The arrays to come. `deadline_s` is a time.monotonic() moment; runs are merged whatever their `merge_key`.

        Raises INVALID_ARGUMENT for what cannot be part of a batch, UNAVAILABLE where too many wait already.
        """
        del merge_key, is_stack  # there are no stacks where `most_together` is 1
        rows = rows_of(feeds)
        queue = self._queue(feeds, fetches)
        room = queue.room(rows)
        loop = self._scheduler.loop
        answer: asyncio.Future[Arrays] = loop.create_future()
        if deadline_s is not None:
            timer = loop.call_later(deadline_s - time.monotonic(), _expire, answer)
            answer.add_done_callback(lambda _: timer.cancel())
        if rows <= room or not self._parameters.enable_large_batch_splitting:
            queue.add(Task(feeds, fetches, rows, deadline_s, answer))
            return answer
        cuts = self._cuts(rows, room)
        parts = [loop.create_future() for _ in cuts]
        _join(parts, answer)
        for part, (start, end) in zip(parts, cuts, strict=True):
            queue.add(Task(_rows(feeds, start, end), fetches, end - start, deadline_s, part))
        return answer

    def most_together(self, bound: BoundSignature, rows: int, *, may_merge: bool) -> int:
        """1: every request is a task of its own."""
        del bound, rows, may_merge
        return 1

    def _queue(self, feeds: Feeds, fetches: Sequence[Endpoint]) -> BatchQueue:
        """The queue for these tensors; those of a wrong dtype have one of their own, to fail alone."""
        key = (*((e.tensor_name, array.dtype.char) for e, array in feeds), *(e.tensor_name for e in fetches))
        queue = self._queues.get(key)
        if queue is None:
            if len(self._queues) >= _MANY_QUEUES:
                self._queues = {known: queue for known, queue in self._queues.items() if not queue.is_idle}
            queue = self._queues[key] = self._new_queue()
        return queue

    def _new_queue(self) -> BatchQueue:
        return BatchQueue(self._parameters, self._scheduler, self)

    def _cuts(self, rows: int, room: int) -> list[tuple[int, int]]:
        """Where a large task is split: first what the open batch still takes, then whole batches."""
        ends = [*range(room or self._parameters.largest_batch, rows, self._parameters.largest_batch), rows]
        return list(zip([0, *ends], ends, strict=False))

    def run_now(self, feeds: Feeds, fetches: Sequence[Endpoint]) -> Arrays:
        """Run one request on this thread, in batches of its own. Raises as `submit` and the run do."""
        rows = rows_of(feeds)
        self._new_queue().room(rows)
        parts = [
            self._run_together([_rows(feeds, start, end)], fetches, 0)[0]
            for start, end in self._cuts(rows, self._parameters.largest_batch)
        ]
        return parts[0] if len(parts) == 1 else _concatenated(parts)

    def run_tasks(self, tasks: Sequence[Task]) -> list[Arrays]:
        """Run tasks as one batch, on this thread; the arrays of each."""
        now_s = time.monotonic()
        self._recorder.batch_started(self._parameters.thread_pool_name, [now_s - task.added_s for task in tasks])
        return self._run_together([task.feeds for task in tasks], tasks[0].fetches, _timeout_ms(tasks))

    def _run_together(self, requests: Sequence[Feeds], fetches: Sequence[Endpoint], timeout_ms: int) -> list[Arrays]:
        feeds = merged(requests, self._parameters)
        arrays = self.timing.run(self._session, feeds, fetches, timeout_ms=timeout_ms)
        return split(arrays, fetches, [len(request[0][1]) for request in requests], len(feeds[0][1]))

    # ---- a session is closed only after its last run, though its answer may have been given up ----
    def begin(self) -> None:
        """Say that a batch is on its way to a thread."""
        with self._changed:
            self._running += 1

    def end(self) -> None:
        """Say that a batch has been run."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Wait for the last run. Nothing may be submitted any more."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running)


def _rows(feeds: Feeds, start: int, end: int) -> Feeds:
    return [(endpoint, array[start:end]) for endpoint, array in feeds]


def _concatenated(parts: Sequence[Arrays]) -> Arrays:
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _join(parts: Sequence[asyncio.Future[Arrays]], answer: asyncio.Future[Arrays]) -> None:
    """Let `answer` be all parts together, or the first failure among them; the parts go when nobody waits for it."""

    def give_up(_: asyncio.Future[Arrays]) -> None:
        for part in parts:
            part.cancel()

    def put_together(gathered: asyncio.Future[list[Arrays | BaseException]]) -> None:
        results = gathered.result()
        if answer.done():
            return
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            answer.set_exception(failures[0])
        else:
            answer.set_result(_concatenated([result for result in results if isinstance(result, list)]))

    answer.add_done_callback(give_up)
    asyncio.gather(*parts, return_exceptions=True).add_done_callback(put_together)


def _expire(answer: asyncio.Future[Arrays]) -> None:
    if not answer.done():
        answer.set_exception(ServingError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification"))


def _timeout_ms(tasks: Sequence[Task]) -> int:
    """How long a run may take: until the last deadline of those who wait for it; 0 for ever."""
    deadlines_s = [task.deadline_s for task in tasks if task.deadline_s is not None]
    if len(deadlines_s) < len(tasks):
        return 0
    return max(1, int((max(deadlines_s) - time.monotonic()) * 1000))
