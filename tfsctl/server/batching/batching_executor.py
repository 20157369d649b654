"""Runs several requests as one padded batch, as TensorFlow Serving's batching does.

Rules and messages: tensorflow_serving/batching/batching_session.cc.
"""

from __future__ import annotations

from tfsctl.server.batching.parameters import BatchingParameters
from tfsctl.server.batching.tensors import merge, split
from tfsctl.server.execution.stacked_run import Stack, StackedRun
from tfsctl.server.runtime.run_timing import RunTiming
from tfsctl.server.runtime.session import Session


class BatchingExecutor:
    """Merges the rows of all requests, whatever the signature. If one row fails, the whole batch fails."""

    def __init__(self, session: Session, parameters: BatchingParameters) -> None:
        self._session, self._parameters = session, parameters
        self.timing = RunTiming()

    def run(self, run: StackedRun) -> Stack:
        """One run of the graph, with as many rows as the parameters allow. Raises in the real server's words."""
        requests = run.request_feeds()
        feeds = merge(requests, self._parameters)
        arrays = self.timing.run(self._session, feeds, run.fetches, timeout_ms=run.timeout_ms)
        sizes = [len(request[0][1]) for request in requests]
        return Stack.of_requests(split(arrays, run.fetches, sizes, len(feeds[0][1])))
