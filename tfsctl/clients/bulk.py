"""Ask a model about any number of rows: batches, several at once, answers in the order of the rows.

Works over any ServingClient: `ask` is its predict. A request that cannot be answered for one row's sake is halved until that
row stands alone; one that comes at a bad moment (UNAVAILABLE, RESOURCE_EXHAUSTED) is asked again, a little later each time.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tfsctl.clients.throughput_tuner import Growth, Setting
from tfsctl.core.batches import Arrays, Batch, Reject, concatenate
from tfsctl.errors import InvalidInput, RequestRejected, ServerUnreachable, TfsctlError

Ask = Callable[[Batch], Mapping[str, np.ndarray]]
_READY_AHEAD = 3  # answers that wait for an earlier one, for each request at once
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0
_ROWS_AT_FAULT = frozenset({"INVALID_ARGUMENT", "OUT_OF_RANGE", "FAILED_PRECONDITION", "INTERNAL", "UNKNOWN"})


@dataclass(frozen=True, slots=True)
class Options:
    """How to ask. None for rows or requests at once: found out. `divisible`: a request may have fewer rows."""

    batch_size: int | None = None
    concurrency: int | None = None
    skip_bad_rows: bool = False
    retry_s: float = 60.0
    divisible: bool = True


@dataclass(frozen=True, slots=True)
class Answered:
    """A batch and its outputs, an item a row; rows the server refused have become rejects. Its inputs are let go."""

    batch: Batch
    outputs: Arrays


@dataclass(slots=True)
class _Job:
    """A batch on its way through a worker."""

    batch: Batch
    setting: Setting
    size: int  # bytes of the request, about
    done: threading.Event = field(default_factory=threading.Event)
    answer: Answered | None = None
    error: BaseException | None = None
    latency_s: float = 0.0
    too_many: int = 0  # rows of a request the server found too many
    was_busy: bool = False


class Bulk:
    """One run over rows. Iterate over it for the answers; `stop` ends it after those under way.

    While `has_more` is false, answers under way come before `take` is called, which may have to wait then.
    """

    def __init__(
        self,
        take: Callable[[int], Batch | None],
        ask: Ask,
        options: Options,
        *,
        has_more: Callable[[], bool] = lambda: True,
    ) -> None:
        self._can_take = has_more
        self._take = take
        self._ask = ask
        self._options = options
        self._growth = Growth(options.batch_size, options.concurrency)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._finished: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._workers = 0
        self._waiting: deque[_Job] = deque()  # in the order of the rows
        self._running = 0
        self._has_more = True
        self._unreadable: TfsctlError | None = None

    @property
    def setting(self) -> Setting:
        """How it asks now."""
        return self._growth.setting

    def stop(self) -> None:
        """Ask no more; what is under way is still answered. May be called from a signal handler."""
        self._stopped.set()

    def __iter__(self) -> Iterator[Answered]:
        """The answers, in the order of the rows.

        Raises what `ask` raises once nothing more can be done about it, and what `take` does once all rows before are
        answered.
        """
        try:
            while True:
                while self._running and not self._finished.empty():
                    self._note(self._finished.get())
                self._fill()
                if self._waiting and self._waiting[0].done.is_set():
                    job = self._waiting.popleft()
                    if job.error is not None:
                        raise job.error
                    if job.answer is not None:
                        yield job.answer
                elif self._running:
                    self._note(self._finished.get())
                elif self._unreadable is not None:
                    raise self._unreadable
                else:
                    return
        finally:
            self._stopped.set()
            for _ in range(self._workers):
                self._jobs.put(None)

    def _fill(self) -> None:
        """Ask for as many batches as may be asked for at once."""
        while self._has_more and not self._stopped.is_set() and self._has_room():
            if self._waiting and not self._can_take():
                return
            try:
                batch = self._take(self.setting.rows)
            except TfsctlError as error:  # raised once the rows before are answered
                self._unreadable = error
                batch = None
            self._has_more = batch is not None
            if batch is not None:
                self._waiting.append(self._start(batch))
                self._running += 1

    def _has_room(self) -> bool:
        at_once = self.setting.at_once
        return self._running < at_once and len(self._waiting) < at_once * _READY_AHEAD

    def _start(self, batch: Batch) -> _Job:
        job = _Job(batch, self.setting, sum(_size(array) for array in batch.arrays.values()))
        if self._workers < self.setting.at_once:
            self._workers += 1  # daemons: a process that ends waits for no server
            threading.Thread(target=self._work, name=f"bulk-{self._workers}", daemon=True).start()
        self._jobs.put(job)
        return job

    def _note(self, job: _Job) -> None:
        """Let an answer that has come say how to ask on."""
        self._running -= 1
        if job.was_busy:
            self._growth.exhausted()
        if job.too_many:
            self._growth.refused(job.too_many)
        elif job.error is None:
            self._growth.answered(len(job.batch), job.latency_s, job.size, job.setting)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            start = time.perf_counter()
            try:
                job.answer = self._answer(job, job.batch) if len(job.batch) else Answered(job.batch, {})
                job.batch = job.answer.batch
            except BaseException as error:  # noqa: BLE001 - raised where the answers are read
                job.error = error
            job.latency_s = time.perf_counter() - start
            job.done.set()
            self._finished.put(job)

    def _answer(self, job: _Job, batch: Batch) -> Answered:
        """The answer to a batch: whole, or put together from its halves."""
        try:
            outputs = _by_row(self._patiently(job, batch), len(batch))
            return Answered(replace(batch, arrays={}), outputs)
        except RequestRejected as error:
            too_large = _is_too_large(error)
            if error.status not in _ROWS_AT_FAULT and not too_large:
                raise
            if len(batch) == 1:
                return self._reject(batch, error)
            if not self._options.divisible:
                raise
        halves = [self._answer(job, half) for half in batch.split(len(batch) // 2)]
        if sum(len(half.batch) for half in halves) == len(batch):  # no row was at fault, so they were too many
            job.too_many = len(batch)
        return _together(halves)

    def _patiently(self, job: _Job, batch: Batch) -> Mapping[str, np.ndarray]:
        """Ask, again and again while the server has only a bad moment."""
        deadline = time.monotonic() + self._options.retry_s
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return self._ask(batch)
            except (ServerUnreachable, RequestRejected) as error:
                if not _passes(error) or time.monotonic() + pause > deadline or self._stopped.is_set():
                    raise
                job.was_busy |= isinstance(error, RequestRejected)  # who is away says nothing of how many it takes
            self._stopped.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that they do not all come back at once
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _reject(self, batch: Batch, error: RequestRejected) -> Answered:
        row = int(batch.rows[0])
        if not self._options.skip_bad_rows:
            said = RequestRejected(f"row {row}: {error.message}", status=error.status, hint=error.hint)
            said.hint = said.hint or "--on-error skip goes on without such rows, and lists them"
            raise said from error
        held = {name: array[0].tolist() for name, array in batch.arrays.items() if array.size <= 1000}
        reject = Reject(row, error.message, {name: _readable(value) for name, value in held.items()})
        return Answered(replace(batch, rows=batch.rows[:0], arrays={}, rejects=(reject, *batch.rejects)), {})


def _together(halves: list[Answered]) -> Answered:
    full = [half for half in halves if len(half.batch)]
    outputs = {
        name: np.concatenate([half.outputs[name] for half in full]) for name in (full[0].outputs if full else ())
    }
    return Answered(concatenate([half.batch for half in halves]), outputs)


def _by_row(outputs: Mapping[str, np.ndarray], rows: int) -> Arrays:
    """Outputs with an item for each row. Raises InvalidInput for one that has none, unless it answers a single row."""
    by_row = {}
    for name, array in outputs.items():
        if array.ndim and len(array) == rows:
            by_row[name] = array
        elif rows == 1:
            by_row[name] = array[None]
        else:
            raise InvalidInput(
                f"output {name!r} has shape {list(array.shape)} for {rows} rows: it is not one value a row",
                hint="--batch-size 1 asks for each row by itself",
            )
    return by_row


def _passes(error: TfsctlError) -> bool:
    """Whether the same request may be answered a little later."""
    if isinstance(error, RequestRejected):
        return error.status == "RESOURCE_EXHAUSTED" and not _is_too_large(error)
    return isinstance(error, ServerUnreachable)


def _is_too_large(error: RequestRejected) -> bool:
    return error.status == "RESOURCE_EXHAUSTED" and "larger than max" in error.message


def _size(array: np.ndarray) -> int:
    """About how many bytes an array takes on the wire."""
    if array.dtype != object or not len(array):
        return array.nbytes
    some = array.ravel()[:: max(1, array.size // 8)]
    return sum(map(len, some)) * array.size // len(some)


def _readable(value: object) -> object:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
