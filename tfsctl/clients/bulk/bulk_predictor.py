"""Predictions for any number of rows: batches are sent concurrently, answers are returned in the order of the rows.

- A batch that the server rejects because of a row is split in halves until that row stands alone.
- Temporary failures (UNAVAILABLE, RESOURCE_EXHAUSTED) are retried with exponential backoff.
- The batch size and the concurrency are tuned unless they are given.
"""

from __future__ import annotations

import copy
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tfsctl.clients.bulk.throughput_tuner import RequestSettings, ThroughputTuner
from tfsctl.core.batches import NamedArrays, Reject, RowBatch, concatenate, label_values
from tfsctl.core.json_tensors import to_json
from tfsctl.errors import AnswerTooLarge, InvalidInput, RequestRejected, ServerUnreachable, TfsctlError

PredictBatch = Callable[[RowBatch], Mapping[str, np.ndarray]]
_MAX_PENDING_PER_WORKER = 3  # limits the answers that wait for an earlier one
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.05, 5.0
_ROW_ERRORS = frozenset({"INVALID_ARGUMENT", "OUT_OF_RANGE", "FAILED_PRECONDITION", "INTERNAL", "UNKNOWN"})


@dataclass(frozen=True, slots=True)
class BulkOptions:
    """How to send the rows.

    - `batch_size`, `concurrency`: rows per request and requests at a time; None: tuned.
    - `skip_bad_rows`: a row that the server rejects becomes a reject; otherwise it ends the run.
    - `retry_s`: how long a request with temporary failures is retried.
    - `divisible`: a batch may be split, because the model accepts fewer rows.
    """

    batch_size: int | None = None
    concurrency: int | None = None
    skip_bad_rows: bool = False
    retry_s: float = 60.0
    divisible: bool = True


@dataclass(frozen=True, slots=True)
class AnsweredBatch:
    """A batch with its outputs, one item per row. Its inputs are dropped; rows the server rejected are its rejects."""

    batch: RowBatch
    outputs: NamedArrays


@dataclass(slots=True)
class _PendingBatch:
    """A batch that a worker sends, and its answer."""

    batch: RowBatch
    settings: RequestSettings
    request_bytes: int  # estimate
    done: threading.Event = field(default_factory=threading.Event)
    answer: AnsweredBatch | None = None
    error: BaseException | None = None
    latency_s: float = 0.0
    too_large: int = 0  # rows of a request that the server refused as too large
    was_overloaded: bool = False


class BulkPredictor:
    """One run over rows. Iterate over it for the answers.

    - `take(count)` returns the next batch of at most `count` rows, or None at the end.
    - `predict` sends one batch and returns the outputs.
    - While `is_ready` is false, pending answers are returned before `take` is called, because it may block then.
    """

    def __init__(
        self,
        take: Callable[[int], RowBatch | None],
        predict: PredictBatch,
        options: BulkOptions,
        *,
        is_ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self._is_ready = is_ready
        self._take = take
        self._predict = predict
        self._options = options
        self._tuner = ThroughputTuner(options.batch_size, options.concurrency)
        self._queue: queue.SimpleQueue[_PendingBatch | None] = queue.SimpleQueue()
        self._finished: queue.SimpleQueue[_PendingBatch] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._workers = 0
        self._pending: deque[_PendingBatch] = deque()  # in the order of the rows
        self._running = 0
        self._source_has_more = True
        self._source_error: TfsctlError | None = None

    @property
    def settings(self) -> RequestSettings:
        """The current batch size and concurrency."""
        return self._tuner.settings

    def stop(self) -> None:
        """Send no more batches; those already sent are still answered. Safe to call from a signal handler."""
        self._stopped.set()

    def __iter__(self) -> Iterator[AnsweredBatch]:
        """The answers, in the order of the rows.

        Raises the error of `predict` that could not be retried, and the error of `take` after all rows before it.
        """
        try:
            while True:
                while self._running and not self._finished.empty():
                    self._record(self._finished.get())
                self._fill()
                if self._pending and self._pending[0].done.is_set():
                    pending = self._pending.popleft()
                    if pending.error is not None:
                        raise pending.error
                    if pending.answer is not None:
                        yield pending.answer
                elif self._running:
                    self._record(self._finished.get())
                elif self._source_error is not None:
                    raise self._source_error
                else:
                    return
        finally:
            self._stopped.set()
            for _ in range(self._workers):
                self._queue.put(None)

    def _fill(self) -> None:
        """Send batches until the concurrency is reached."""
        while self._source_has_more and not self._stopped.is_set() and self._has_room():
            if self._pending and not self._is_ready():
                return
            try:
                batch = self._take(self.settings.rows)
            except TfsctlError as error:  # raised after the rows before it are answered
                self._source_error = error
                batch = None
            self._source_has_more = batch is not None
            if batch is not None:
                self._pending.append(self._start(batch))
                self._running += 1

    def _has_room(self) -> bool:
        concurrency = self.settings.concurrency
        return self._running < concurrency and len(self._pending) < concurrency * _MAX_PENDING_PER_WORKER

    def _start(self, batch: RowBatch) -> _PendingBatch:
        pending = _PendingBatch(batch, self.settings, sum(_wire_bytes(array) for array in batch.arrays.values()))
        if self._workers < self.settings.concurrency:
            self._workers += 1  # daemon threads: the process can exit while a server does not answer
            threading.Thread(target=self._work, name=f"bulk-{self._workers}", daemon=True).start()
        self._queue.put(pending)
        return pending

    def _record(self, pending: _PendingBatch) -> None:
        """Tell the tuner about a finished batch."""
        self._running -= 1
        if pending.was_overloaded:
            self._tuner.record_overload()
        if pending.too_large:
            self._tuner.record_too_large(pending.too_large)
        elif pending.error is None and self._tuner.is_tuning:
            self._tuner.record_answer(len(pending.batch), pending.latency_s, pending.request_bytes, pending.settings)

    def _work(self) -> None:
        while (pending := self._queue.get()) is not None:
            start = time.perf_counter()
            try:
                pending.answer = (
                    self._answer(pending, pending.batch) if len(pending.batch) else AnsweredBatch(pending.batch, {})
                )
                pending.batch = pending.answer.batch
            except BaseException as error:  # noqa: BLE001 - raised again by __iter__
                pending.error = error
            pending.latency_s = time.perf_counter() - start
            pending.done.set()
            self._finished.put(pending)

    def _answer(self, pending: _PendingBatch, batch: RowBatch) -> AnsweredBatch:
        """The answer to a batch, put together from halves if the batch had to be split."""
        try:
            outputs = _outputs_by_row(self._predict_with_retries(pending, batch), len(batch))
            return AnsweredBatch(replace(batch, arrays={}), outputs)
        except (RequestRejected, AnswerTooLarge) as error:
            if not _is_too_large(error) and not (isinstance(error, RequestRejected) and error.status in _ROW_ERRORS):
                raise
            if len(batch) == 1:
                return self._reject(batch, error)
            if not self._options.divisible:
                raise
        halves = [self._answer(pending, half) for half in batch.split(len(batch) // 2)]
        if sum(len(half.batch) for half in halves) == len(batch):  # no row was rejected, so the request was too large
            pending.too_large = len(batch)
        return _concatenate_answers(halves)

    def _predict_with_retries(self, pending: _PendingBatch, batch: RowBatch) -> Mapping[str, np.ndarray]:
        """Send a batch; retry temporary failures with exponential backoff and jitter."""
        deadline = time.monotonic() + self._options.retry_s
        pause = _FIRST_BACKOFF_S
        while True:
            try:
                return self._predict(batch)
            except (ServerUnreachable, RequestRejected) as error:
                if not _is_temporary(error) or time.monotonic() + pause > deadline or self._stopped.is_set():
                    raise
                # An unreachable server says nothing about its capacity.
                pending.was_overloaded |= isinstance(error, RequestRejected)
            self._stopped.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(pause * 2, _MAX_BACKOFF_S)

    def _reject(self, batch: RowBatch, error: RequestRejected | AnswerTooLarge) -> AnsweredBatch:
        row = int(batch.rows[0])
        if not self._options.skip_bad_rows:
            rejection = copy.copy(error)
            rejection.message = f"row {row}: {error.message}"
            rejection.args = (rejection.message,)
            rejection.hint = error.hint or "--on-error skip --output FILE skips such rows, and lists them"
            raise rejection from error
        values = {name: to_json(array[:1])[0] for name, array in batch.arrays.items() if array.size <= 1000}
        reject = Reject(row, error.message, values, label_values(batch.labels, 0))
        return AnsweredBatch(replace(batch, rows=batch.rows[:0], arrays={}, rejects=(reject, *batch.rejects)), {})


def _concatenate_answers(halves: list[AnsweredBatch]) -> AnsweredBatch:
    full = [half for half in halves if len(half.batch)]
    outputs = {
        name: np.concatenate([half.outputs[name] for half in full]) for name in (full[0].outputs if full else ())
    }
    return AnsweredBatch(concatenate([half.batch for half in halves]), outputs)


def _outputs_by_row(outputs: Mapping[str, np.ndarray], rows: int) -> NamedArrays:
    """Outputs with one item per row. Raises InvalidInput for an output without, unless the batch has a single row."""
    by_row = {}
    for name, array in outputs.items():
        if array.ndim and len(array) == rows:
            by_row[name] = array
        elif rows == 1:
            by_row[name] = array[None]
        else:
            raise InvalidInput(
                f"output {name!r} has shape {list(array.shape)} for {rows} rows: it does not have one value per row",
                hint="--batch-size 1 sends each row in its own request",
            )
    return by_row


def _is_temporary(error: TfsctlError) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, RequestRejected):
        return error.status == "RESOURCE_EXHAUSTED" and not _is_too_large(error)
    return isinstance(error, ServerUnreachable)


def _is_too_large(error: RequestRejected | AnswerTooLarge) -> bool:
    """Whether fewer rows may succeed, because the request or its answer is too large."""
    if isinstance(error, AnswerTooLarge):
        return True
    return error.status == "RESOURCE_EXHAUSTED" and "larger than max" in error.message


def _wire_bytes(array: np.ndarray) -> int:
    """An estimate of the bytes of an array in a request."""
    if array.dtype != object or not len(array):
        return array.nbytes
    some = array.ravel()[:: max(1, array.size // 8)]
    return sum(map(len, some)) * array.size // len(some)
