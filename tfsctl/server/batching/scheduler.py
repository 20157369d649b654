"""The batch scheduler: queues that form batches of tasks, and the threads that all queues share.

Rules and messages: tensorflow/core/kernels/batching_util/shared_batch_scheduler.h. Queues live on one event loop; only
the runs happen in threads.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from tfsctl.server.batching.parameters import BatchingParameters
from tfsctl.server.execution.run_threads import RunThreads
from tfsctl.server.runtime.session import Arrays, Endpoint, Feeds
from tfsctl.server.status import Code, ServingError, invalid_argument

Outcome = Sequence[Arrays] | Exception


@dataclass(slots=True, eq=False)
class BatchTask:
    """The rows of one request, or a part of them. `answer` is awaited on the event loop."""

    feeds: Feeds
    fetches: Sequence[Endpoint]
    rows: int
    nbytes: int
    deadline_s: float | None
    answer: asyncio.Future[Arrays]
    added_s: float = field(default_factory=time.monotonic)


@dataclass(slots=True, eq=False)
class TaskBatch:
    """Tasks that will run as one batch. `is_due` is set when they have waited long enough."""

    tasks: list[BatchTask] = field(default_factory=list)
    rows: int = 0
    is_due: bool = False
    timer: asyncio.Handle | None = None


class Runner(Protocol):
    """Runs the batches of a queue."""

    def may_hold_loop(self, task: BatchTask) -> bool:
        """Whether a run of one task takes less time than the hand-over to a thread is worth."""

    def begin(self) -> None:
        """Count a batch that is handed to a thread."""

    def run_tasks(self, tasks: Sequence[BatchTask]) -> Sequence[Arrays]:
        """Run tasks as one batch, on this thread; the arrays of each."""

    def end(self) -> None:
        """Count a batch that a thread has run."""

    def crashed(self, tasks: Sequence[BatchTask], signal_name: str) -> ServingError:
        """Record that TensorFlow crashed in a run of these tasks. Returns the answer to them."""


class BatchScheduler:
    """The threads that run batches, and the queues that have batches to run. Lives on one event loop."""

    def __init__(self, parameters: BatchingParameters, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._thread_count = self._idle_threads = parameters.num_batch_threads
        self._threads = RunThreads(self._thread_count, parameters.thread_pool_name, low_priority=True)
        self._ready: deque[BatchQueue] = deque()

    def offer(self, queue: BatchQueue) -> None:
        """Run the next batch of a queue, if it has one: now, or when a thread is free."""
        if not queue.is_offered:
            queue.is_offered = True
            self._ready.append(queue)
        self._dispatch()

    def _dispatch(self) -> None:
        """Start batches, one of each queue in turn, while threads are free."""
        while self._idle_threads and self._ready:
            queue = self._ready.popleft()
            tasks = queue.take()
            if tasks is None:
                queue.is_offered = False
                continue
            self._ready.append(queue)  # behind the others: it may have more batches
            if len(tasks) == 1 and self._idle_threads == self._thread_count and queue.runner.may_hold_loop(tasks[0]):
                _settle(tasks, _outcome(queue.runner, tasks))  # handing over to a thread would take longer
                continue
            self._idle_threads -= 1
            queue.runner.begin()
            self._threads.submit(
                partial(self._work, queue.runner, tasks), partial(self._report_crash, queue.runner, tasks)
            )

    def _work(self, runner: Runner, tasks: list[BatchTask]) -> Callable[[], object]:
        return partial(self._hand_over, runner, tasks, _outcome(runner, tasks))

    def _hand_over(self, runner: Runner, tasks: list[BatchTask], outcome: Outcome) -> None:
        runner.end()
        self.loop.call_soon_threadsafe(self._finish, tasks, outcome)

    def _report_crash(self, runner: Runner, tasks: list[BatchTask], signal_name: str) -> None:
        self.loop.call_soon_threadsafe(self._finish_crashed, runner, tasks, signal_name)

    def _finish_crashed(self, runner: Runner, tasks: list[BatchTask], signal_name: str) -> None:
        self._threads.replace_lost()
        runner.end()
        self._finish(tasks, runner.crashed(tasks, signal_name))

    def _finish(self, tasks: list[BatchTask], outcome: Outcome) -> None:
        self._idle_threads += 1
        self._dispatch()
        _settle(tasks, outcome)


def _outcome(runner: Runner, tasks: list[BatchTask]) -> Outcome:
    """The arrays of each task, or the exception of the whole batch."""
    try:
        return runner.run_tasks(tasks)
    except Exception as error:  # noqa: BLE001 - it is the answer to the tasks
        return error


def _settle(tasks: list[BatchTask], outcome: Outcome) -> None:
    """Give each task its arrays, or the exception. Each gets its own ServingError: raising adds to its traceback."""
    for index, task in enumerate(tasks):
        if task.answer.done():
            continue
        if isinstance(outcome, ServingError):
            task.answer.set_exception(ServingError(outcome.code, outcome.message))
        elif isinstance(outcome, Exception):
            task.answer.set_exception(outcome)
        else:
            task.answer.set_result(outcome[index])


class BatchQueue:
    """Batches of tasks for the same tensors. The last batch is open, the others are closed."""

    def __init__(self, parameters: BatchingParameters, scheduler: BatchScheduler, runner: Runner) -> None:
        self.runner = runner
        self.is_offered = False
        self._parameters = parameters
        self._scheduler = scheduler
        self._batches: deque[TaskBatch] = deque([TaskBatch()])

    @property
    def is_idle(self) -> bool:
        """Whether no task waits in this queue."""
        return not self.is_offered and len(self._batches) == 1 and not self._batches[0].tasks

    def check_capacity(self, rows: int) -> int:
        """Check that the queue takes a task of `rows` rows. Returns how many rows still fit into the open batch.

        Raises INVALID_ARGUMENT if the task is too large for any queue, UNAVAILABLE if this queue is too full for it.
        """
        parameters, waiting, open_rows = self._parameters, len(self._batches), self._batches[-1].rows
        limit, largest = parameters.max_enqueued_batches, parameters.largest_batch
        if rows > parameters.max_batch_size:
            raise invalid_argument(
                f"Task size {rows} is larger than maximum input batch size {parameters.max_batch_size}"
            )
        if parameters.enable_large_batch_splitting:
            capacity = (limit - waiting + 1) * largest - open_rows
            if rows > capacity:
                raise _full(
                    f"task size is {rows} but scheduling capacity is only {capacity} (num_enqueued_batches={waiting}, "
                    f"max_enqueued_batches={limit}, open_batch_size={open_rows}, max_execution_batch_size={largest})"
                )
        elif waiting > limit or (waiting >= limit and open_rows + rows > largest):
            raise _full(f"currently {waiting} batches enqueued and max_enqueued_batches is {limit}")
        return largest - open_rows

    def add(self, task: BatchTask) -> None:
        """Put a task into the open batch, or into a new one if it does not fit. A task without rows runs alone."""
        if not task.rows:
            self._batches.insert(len(self._batches) - 1, TaskBatch([task]))
            self._scheduler.offer(self)
            return
        if self._batches[-1].rows + task.rows > self._parameters.largest_batch:
            self._open_another()
        batch = self._batches[-1]
        batch.tasks.append(task)
        batch.rows += task.rows
        if len(batch.tasks) == 1:
            loop, wait_s = self._scheduler.loop, self._parameters.batch_timeout_s
            batch.timer = (
                loop.call_later(wait_s, self._make_due, batch) if wait_s else loop.call_soon(self._make_due, batch)
            )
        if len(self._batches) > 1 or batch.rows == self._parameters.largest_batch:
            self._scheduler.offer(self)

    def _make_due(self, batch: TaskBatch) -> None:
        """Let a batch run although it is not full: it has waited for the batch timeout."""
        batch.is_due = True
        self._scheduler.offer(self)

    def _open_another(self) -> None:
        closed = self._batches[-1]
        if closed.timer is not None:
            closed.timer.cancel()
        self._batches.append(TaskBatch())

    def take(self) -> list[BatchTask] | None:
        """The next tasks to run, None if there are none yet. Tasks whose answer was cancelled are dropped."""
        while True:
            first = self._batches[0]
            if len(self._batches) == 1:
                if not first.tasks or not (first.is_due or first.rows >= self._parameters.largest_batch):
                    return None
                self._open_another()
            self._batches.popleft()
            tasks = [task for task in first.tasks if not task.answer.done()]
            if tasks:
                return tasks


def _full(reason: str) -> ServingError:
    return ServingError(
        Code.UNAVAILABLE, f"The batch scheduling queue to which this task was submitted is full; {reason}"
    )
