"""A batch: requests of one kind that are run at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tfsctl.server.execution.executor import Executor
from tfsctl.server.execution.pending_run import SMALL_BYTES, SMALL_ROWS, PendingRun, deadline_exceeded
from tfsctl.server.execution.stacked_run import Stack, StackedRun


class Batch:
    """Requests that will be run at once by an executor. `key` is equal for requests that may join it."""

    __slots__ = ("_max_requests", "_max_rows", "_payloads", "executor", "key", "nbytes", "requests", "rows", "stacked")

    def __init__(self, executor: Executor, key: object, *, max_requests: int, max_rows: int) -> None:
        self.executor, self.key = executor, key
        self._max_requests, self._max_rows = max_requests, max_rows
        self.requests: list[PendingRun] = []
        self._payloads: list[Any] = []
        self.rows = self.nbytes = 0
        self.stacked: StackedRun | None = None
        """The run of all requests, once it was made."""

    def has_room(self, run: PendingRun) -> bool:
        """Whether a request fits."""
        return len(self.requests) < self._max_requests and self.rows + run.rows <= self._max_rows

    def add(self, run: PendingRun) -> None:
        """Take a request in."""
        self.requests.append(run)
        self.rows += run.rows
        self.nbytes += run.nbytes

    @property
    def is_full(self) -> bool:
        """Whether no further request fits."""
        return len(self.requests) >= self._max_requests or self.rows >= self._max_rows

    @property
    def is_small(self) -> bool:
        """Whether the run is small enough for the event loop, and a measure of the model."""
        return self.nbytes < SMALL_BYTES and self.rows <= SMALL_ROWS

    def start(self) -> bool:
        """Prepare the run: drop the requests that nobody waits for, answer those whose deadline has passed.

        Returns whether any request is left. From here on the batch may be used on another thread.
        """
        now_s = time.monotonic()
        for run in self.requests:
            if run.deadline_s is not None and now_s > run.deadline_s:
                run.settle(deadline_exceeded())
        if any(run.answer.done() for run in self.requests):
            self.requests = [run for run in self.requests if not run.answer.done()]
            self.rows = sum(run.rows for run in self.requests)
            self.nbytes = sum(run.nbytes for run in self.requests)
        self._payloads = [run.payload for run in self.requests]
        return bool(self.requests)

    def stack(self) -> StackedRun | None:
        """The run of all requests. None if they have to be converted one by one."""
        requests = self.requests
        first = requests[0]
        if first.codec is None:
            inputs = Stack.of_requests(self._payloads)
        else:
            arrays = first.codec.decode(self._payloads)
            if arrays is None:
                return None
            inputs = Stack(len(requests), arrays=arrays)
        self.stacked = StackedRun(
            first.feeds, first.fetches, inputs, timeout_ms=self._timeout_ms(), is_small=self.is_small
        )
        return self.stacked

    def _timeout_ms(self) -> int:
        """How long the run may take: until the last deadline of its requests; 0 if one of them has none."""
        last_s = 0.0
        for run in self.requests:
            if run.deadline_s is None:
                return 0
            last_s = max(last_s, run.deadline_s)
        return max(1, int((last_s - time.monotonic()) * 1000))

    def settle(self, outcomes: Sequence[Any]) -> None:
        """Give each request its answer or exception."""
        for run, outcome in zip(self.requests, outcomes, strict=True):
            run.settle(outcome)
