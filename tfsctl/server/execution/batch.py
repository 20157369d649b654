"""A batch: requests of one kind that are run at once."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from typing import Any

from tfsctl.server.execution.crashed_runs import CrashedRuns
from tfsctl.server.execution.executor import Executor
from tfsctl.server.execution.loop_runs import key_of_stack
from tfsctl.server.execution.pending_run import SMALL_BYTES, SMALL_ROWS, PendingRun, deadline_exceeded
from tfsctl.server.execution.stacked_run import Stack, StackedRun, run_timeout_ms
from tfsctl.server.runtime.session import Endpoint


class Batch:
    """Requests that will be run at once by an executor. `key` is equal for requests that may join it."""

    __slots__ = (
        "_is_converted",
        "_max_nbytes",
        "_max_requests",
        "_max_rows",
        "_payloads",
        "executor",
        "has_failed",
        "is_full",
        "key",
        "nbytes",
        "requests",
        "rows",
        "stacked",
        "timing_key",
    )

    def __init__(
        self, executor: Executor, first: PendingRun, key: object, *, max_requests: int, max_rows: int, max_nbytes: int
    ) -> None:
        self.executor, self.key = executor, key
        self._max_requests, self._max_rows, self._max_nbytes = max_requests, max_rows, max_nbytes
        self.requests = [first]
        self.rows, self.nbytes = first.rows, first.nbytes
        self.is_full = max_requests <= 1 or self.rows >= max_rows
        """Whether no further request fits."""
        self.has_failed = False
        """Whether the run of all requests has failed, so that each is run alone."""
        self._payloads: list[Any] = []
        self._is_converted = False
        self.timing_key: Hashable = None
        """Equal for runs that take about the same time, once `stack` was called; None if there is no run of all."""
        self.stacked: StackedRun | None = None
        """The run of all requests, once it was made."""

    def add(self, run: PendingRun) -> bool:
        """Take a request in if it fits; returns whether it did."""
        rows, nbytes = self.rows + run.rows, self.nbytes + run.nbytes
        if self.is_full or rows > self._max_rows or nbytes > self._max_nbytes:
            return False
        self.requests.append(run)
        self.rows, self.nbytes = rows, nbytes
        self.is_full = len(self.requests) >= self._max_requests or rows >= self._max_rows
        return True

    @property
    def fetches(self) -> Sequence[Endpoint]:
        """What the run fetches."""
        return self.requests[0].fetches

    @property
    def is_small(self) -> bool:
        """Whether the run is small enough for the event loop, and to measure the model by."""
        return self.nbytes < SMALL_BYTES and self.rows <= SMALL_ROWS

    def start(self) -> tuple[int, int]:
        """Prepare the run: drop requests whose client has left, and answer those whose deadline has passed.

        Returns how many requests no longer count as waiting, and their bytes. After that, another thread may use the batch.
        """
        now_s = time.monotonic()
        released = nbytes = 0
        self._payloads = payloads = []
        for run in self.requests:
            if run.is_waiting:
                run.is_waiting = False
                released += 1
                nbytes += run.nbytes
            if run.deadline_s is not None and now_s > run.deadline_s:
                run.settle(deadline_exceeded())
            elif not run.is_done:
                payloads.append(run.payload)
        if len(payloads) < len(self.requests):
            self.requests = [run for run in self.requests if not run.is_done]
            self.rows = sum(run.rows for run in self.requests)
            self.nbytes = sum(run.nbytes for run in self.requests)
        return released, nbytes

    def refuse_crashing(self, crashes: CrashedRuns) -> None:
        """Answer the requests instead of running them if their signature is refused since they were queued."""
        for run in self.requests:
            if tuple(run.feeds) in crashes.refused:
                run.settle(crashes.refusal(run.feeds))
        self.requests = [run for run in self.requests if not run.is_done]

    def stack(self, *, is_timed: bool) -> StackedRun | None:
        """The run of all requests, which are converted by the first call. None if that has to be done one by one.

        `is_timed` limits its time by the last deadline of the requests.
        """
        if not self._is_converted:
            self._is_converted = True
            self.stacked = self._converted()
            if self.stacked is not None:
                self.timing_key = key_of_stack(self.requests[0].merge_key, self.stacked, self.nbytes)
        if is_timed and self.stacked is not None:
            self.stacked.timeout_ms = run_timeout_ms(run.deadline_s for run in self.requests)
        return self.stacked

    def _converted(self) -> StackedRun | None:
        first = self.requests[0]
        if first.codec is None:
            inputs = Stack(len(self._payloads), each=self._payloads)
        else:
            arrays = first.codec.decode(self._payloads)
            if arrays is None:
                return None
            inputs = Stack(len(self._payloads), arrays=arrays)
        return StackedRun(first.feeds, first.fetches, inputs, is_small=self.is_small)
