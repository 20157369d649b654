"""The ways to run several requests at once: one after the other, or merged into the rows of one run.

A third way, several calls of a function in one run, is in `replica_executor.py`; TensorFlow Serving's padded batches are
in `server/batching`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from tfsctl.server.execution.stacked_run import Stack, StackedRun
from tfsctl.server.runtime.run_timing import RunTiming
from tfsctl.server.runtime.session import Arrays, Feeds, Session
from tfsctl.server.status import Code, ServingError


class Executor(Protocol):
    """Runs several requests at once, in the calling thread."""

    def run(self, run: StackedRun) -> Stack:
        """The outputs of each request. Raises ServingError if any request fails; the others can be run again alone."""


class SessionExecutor:
    """Runs requests one after the other."""

    def __init__(self, session: Session, timing: RunTiming) -> None:
        self._session, self._timing = session, timing

    def run(self, run: StackedRun) -> Stack:
        """One run of the graph for each request."""
        return Stack.of_requests([self.run_feeds(feeds, run) for feeds in run.request_feeds()])

    def run_feeds(self, feeds: Feeds, run: StackedRun) -> Arrays:
        """One run of the graph with the fetches of `run`, measured if it is small.

        A large run uses all of TensorFlow's threads.
        """
        if run.is_small:
            timeout_ms = 0 if self._timing.is_quick else run.timeout_ms
            return self._timing.run(self._session, feeds, run.fetches, timeout_ms=timeout_ms)
        return self._session.run(feeds, run.fetches, timeout_ms=run.timeout_ms)


class MergingExecutor:
    """Merges the rows of all requests into one run. For signatures whose rows do not affect each other."""

    def __init__(self, alone: SessionExecutor) -> None:
        self._alone = alone

    def run(self, run: StackedRun) -> Stack:
        """One run of the graph. Raises INTERNAL if an output does not have one row for each row of the inputs."""
        count, stacked = run.inputs.count, run.inputs.arrays if run.inputs.has_arrays else None
        if stacked is not None:
            rows = stacked[0].shape[1]
            merged = [array.reshape(count * rows, *array.shape[2:]) for array in stacked]
            outputs = self._run_rows(merged, run)
            return Stack(count, arrays=[array.reshape(count, rows, *array.shape[1:]) for array in outputs])
        merged = [np.concatenate(arrays) for arrays in zip(*run.inputs.each, strict=True)]
        outputs = self._run_rows(merged, run)
        split: list[Arrays] = []
        start = 0
        for arrays in run.inputs.each:
            end = start + len(arrays[0])
            split.append([array[start:end] for array in outputs])
            start = end
        return Stack.of_requests(split)

    def _run_rows(self, merged: Arrays, run: StackedRun) -> Arrays:
        outputs = self._alone.run_feeds(list(zip(run.feeds, merged, strict=True)), run)
        if any(array.ndim == 0 or len(array) != len(merged[0]) for array in outputs):
            raise ServingError(Code.INTERNAL, "an output of a merged run does not have a row for each row of input")
        return outputs
