"""TensorFlow Serving's batching of one session: requests for the same tensors wait for each other and run as one.

Rules and messages: tensorflow_serving/batching/batching_session.cc.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Hashable, Sequence

import numpy as np

from tfsctl.server.batching.batching_executor import BatchingExecutor
from tfsctl.server.batching.parameters import BatchingParameters
from tfsctl.server.batching.scheduler import BatchQueue, BatchScheduler, BatchTask
from tfsctl.server.batching.tensors import rows_of
from tfsctl.server.execution.crashed_runs import CrashedRuns
from tfsctl.server.execution.loop_runs import LoopRuns, key_of_arrays, sizes_of
from tfsctl.server.execution.pending_run import SMALL_BYTES, AloneCodec, PendingRun, deadline_exceeded
from tfsctl.server.execution.run_threads import WAIT_AFTER_CRASH_S
from tfsctl.server.execution.stacked_run import Stack, StackedRun, run_timeout_ms
from tfsctl.server.monitoring.recorder import Recorder
from tfsctl.server.runtime import crash_handler
from tfsctl.server.runtime.session import Arrays, Endpoint, Feeds, Session
from tfsctl.server.status import ServingError

_MAX_QUEUES = 64  # before idle queues are dropped: clients may fetch any combination of outputs


class BatchingSession:
    """Queues the requests for one session and runs them in batches."""

    accepts_codecs = False
    """Requests with a Codec cannot be submitted: each request is a separate task."""

    def __init__(
        self,
        session: Session,
        parameters: BatchingParameters,
        scheduler: BatchScheduler,
        recorder: Recorder,
        crashes: CrashedRuns,
    ) -> None:
        self._recorder, self._crashes = recorder, crashes
        self._parameters = parameters
        self._scheduler = scheduler
        self._executor, self._loop_runs = BatchingExecutor(session, parameters), LoopRuns()
        self._queues: dict[object, BatchQueue] = {}
        self._running = 0
        self._changed = threading.Condition()

    def may_hold_loop(self, task: BatchTask) -> bool:
        """Whether a run of one task takes less time than the hand-over to a thread is worth."""
        return (
            self._executor.timing.is_quick
            and task.nbytes < SMALL_BYTES
            and self._loop_runs.may_hold(sizes_of(task.fetches), task.nbytes)
            and self._loop_runs.is_known(_timing_key(task))
        )

    def submit(self, run: PendingRun) -> None:
        """Queue a request; it is merged with others whatever its `merge_key`.

        Raises INVALID_ARGUMENT for what cannot be part of a batch, UNAVAILABLE if too many wait already or such runs crash.
        """
        self._crashes.check(run.feeds)
        answer = run.answer
        feeds, fetches, deadline_s = run.array_feeds(), run.fetches, run.deadline_s
        rows = rows_of(feeds)
        queue = self._queue(feeds, fetches)
        room = queue.check_capacity(rows)
        loop = self._scheduler.loop
        if deadline_s is not None:
            timer = loop.call_later(deadline_s - time.monotonic(), run.settle, deadline_exceeded())
            answer.add_done_callback(lambda _: timer.cancel())
        if rows <= room or not self._parameters.enable_large_batch_splitting:
            queue.add(BatchTask(feeds, fetches, rows, run.nbytes, deadline_s, answer))
            return
        cuts = self._split_ranges(rows, room)
        parts = [loop.create_future() for _ in cuts]
        _join(parts, answer)
        for part, (start, end) in zip(parts, cuts, strict=True):
            queue.add(BatchTask(_rows(feeds, start, end), fetches, end - start, run.nbytes, deadline_s, part))

    def answer_at_once(self, _codec: AloneCodec, _payload: object, _nbytes: int) -> None:
        """Every request has to be submitted."""

    def cancel(self, run: PendingRun) -> None:
        """Nothing to do: a task whose answer was cancelled is dropped when its batch starts."""

    def _queue(self, feeds: Feeds, fetches: Sequence[Endpoint]) -> BatchQueue:
        """The queue for these tensors. Arrays of a wrong dtype have a queue of their own, so that they fail alone."""
        key = (*((e.tensor_name, array.dtype.char) for e, array in feeds), *(e.tensor_name for e in fetches))
        queue = self._queues.get(key)
        if queue is None:
            if len(self._queues) >= _MAX_QUEUES:
                self._queues = {known: queue for known, queue in self._queues.items() if not queue.is_idle}
            queue = self._queues[key] = self._new_queue()
        return queue

    def _new_queue(self) -> BatchQueue:
        return BatchQueue(self._parameters, self._scheduler, self)

    def _split_ranges(self, rows: int, room: int) -> list[tuple[int, int]]:
        """Where to split a large task: first what fits the open batch, then whole batches."""
        ends = [*range(room or self._parameters.largest_batch, rows, self._parameters.largest_batch), rows]
        return list(zip([0, *ends], ends, strict=False))

    def run_now(self, feeds: Feeds, fetches: Sequence[Endpoint]) -> Arrays:
        """Run one request on this thread, in its own batches. Raises what `submit` and the run raise."""
        rows = rows_of(feeds)
        self._new_queue().check_capacity(rows)  # raises what a queue would raise
        parts = [
            self._run([_rows(feeds, start, end)], fetches, 0)[0]
            for start, end in self._split_ranges(rows, self._parameters.largest_batch)
        ]
        return parts[0] if len(parts) == 1 else _concatenated(parts)

    def run_tasks(self, tasks: Sequence[BatchTask]) -> Sequence[Arrays]:
        """Run tasks as one batch, on this thread; the arrays of each."""
        self._crashes.check([endpoint for endpoint, _ in tasks[0].feeds])
        now_s = time.monotonic()
        self._recorder.batch_started(self._parameters.thread_pool_name, [now_s - task.added_s for task in tasks])
        is_measured = len(tasks) == 1 and self._executor.timing.runs_inline
        start_s = time.thread_time()
        arrays = self._run(
            [task.feeds for task in tasks], tasks[0].fetches, run_timeout_ms(task.deadline_s for task in tasks)
        )
        if is_measured:
            self._loop_runs.add(_timing_key(tasks[0]), time.thread_time() - start_s, tasks[0].fetches)
        return arrays

    def _run(self, requests: Sequence[Feeds], fetches: Sequence[Endpoint], timeout_ms: int) -> Sequence[Arrays]:
        inputs = Stack.of_requests([[array for _, array in feeds] for feeds in requests])
        feeds = [endpoint for endpoint, _ in requests[0]]
        return self._executor.run(StackedRun(feeds, fetches, inputs, timeout_ms=timeout_ms)).each

    @property
    def has_runs(self) -> bool:
        """Whether batches are run in threads."""
        return self._running > 0

    def begin(self) -> None:
        """Count a batch that is handed to a thread."""
        with self._changed:
            self._running += 1

    def end(self) -> None:
        """Count a batch that a thread has run."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def crashed(self, tasks: Sequence[BatchTask], signal_name: str) -> ServingError:
        """Record that TensorFlow crashed in a run of these tasks. Returns the answer to them."""
        feeds = [endpoint for endpoint, _ in tasks[0].feeds]
        self._crashes.add(feeds, signal_name)
        self._loop_runs.ban(tasks[0].fetches)
        return self._crashes.error(feeds, signal_name)

    def close(self) -> bool:
        """Wait for the last run, which may outlive its cancelled requests. Nothing may be submitted any more.

        Returns False if a run has not ended a minute after a crash (`RunThreads.close`).
        """
        with self._changed:
            while not self._changed.wait_for(lambda: not self._running, WAIT_AFTER_CRASH_S):
                if crash_handler.has_crashed():
                    return False
        return True


def _timing_key(task: BatchTask) -> Hashable:
    """Equal for tasks whose runs take about the same time."""
    return key_of_arrays(task.fetches, [array for _, array in task.feeds], task.nbytes)


def _rows(feeds: Feeds, start: int, end: int) -> Feeds:
    return [(endpoint, array[start:end]) for endpoint, array in feeds]


def _concatenated(parts: Sequence[Arrays]) -> Arrays:
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _join(parts: Sequence[asyncio.Future[Arrays]], answer: asyncio.Future[Arrays]) -> None:
    """Set `answer` to the concatenated parts, or to their first failure. Cancel the parts if it is cancelled."""

    def cancel_parts(_: asyncio.Future[Arrays]) -> None:
        for part in parts:
            part.cancel()

    def concatenate(gathered: asyncio.Future[list[Arrays | BaseException]]) -> None:
        results = gathered.result()
        if answer.done():
            return
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            answer.set_exception(failures[0])
        else:
            answer.set_result(_concatenated([result for result in results if isinstance(result, list)]))

    answer.add_done_callback(cancel_parts)
    asyncio.gather(*parts, return_exceptions=True).add_done_callback(concatenate)
