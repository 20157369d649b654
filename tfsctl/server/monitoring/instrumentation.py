"""A loader whose loads, warmups, batches and runs of graphs are counted and timed, on whatever thread they take place."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfsctl.server.batching.parameters import BatchingParameters
from tfsctl.server.batching.scheduler import BatchScheduler, Task
from tfsctl.server.batching.session import Batching
from tfsctl.server.execution.servable import Servable
from tfsctl.server.lifecycle.loader import Loader
from tfsctl.server.lifecycle.warmup import WARMUP_FILE
from tfsctl.server.monitoring.serving_metrics import Monitoring, microseconds_since
from tfsctl.server.runtime.capi import TSTRING_BYTES
from tfsctl.server.runtime.session import Arrays, Endpoint, Feeds, Session
from tfsctl.server.status import ServingError


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredLoader(Loader):
    """Loads versions as a Loader does."""

    metrics: Monitoring
    lock: threading.Lock = field(default_factory=threading.Lock)

    def open_session(self, directory: Path) -> Session:
        """Load the SavedModel in a directory."""
        path, start = str(directory), time.perf_counter()
        try:
            session = _MonitoredSession(directory, self.metrics, self.lock, tags=self.tags, config=self.config)
        except ServingError:
            with self.lock:
                self.metrics.load_attempt_count.add(path, "fail")
            raise
        with self.lock:
            self.metrics.load_attempt_count.add(path, "success")
            self.metrics.load_latency.add(path, by=int(microseconds_since(start)))
            self.metrics.saved_model_reads.add("2" if session.has_object_graph else "1")
            self.metrics.saved_model_readers.add("cc_load")
        return session

    def batched(self, session: Session, parameters: BatchingParameters, scheduler: BatchScheduler) -> Batching:
        """What runs a session in batches."""
        return _MonitoredBatching(session, parameters, scheduler, self.metrics, self.lock)

    def warm_up(self, servable: Servable, directory: Path) -> None:
        """Run the warmup requests of a version, if it has any."""
        has_requests, start, status = (directory / WARMUP_FILE).exists(), time.perf_counter(), "OK"
        try:
            Loader.warm_up(self, servable, directory)
        except ServingError as error:
            status = str(error)
            raise
        finally:
            if has_requests:
                with self.lock:
                    self.metrics.model_warmup_latency.cell(str(directory), status).observe(microseconds_since(start))


class _MonitoredSession(Session):
    def __init__(
        self, directory: Path, metrics: Monitoring, lock: threading.Lock, *, tags: Sequence[str], config: bytes
    ) -> None:
        super().__init__(directory, tags=tags, config=config)
        self._lock = lock
        self._runs = metrics.graph_run_time.cell()
        self._inputs, self._outputs = metrics.graph_run_inputs.cell(), metrics.graph_run_outputs.cell()

    def run(self, feeds: Feeds, fetches: Sequence[Endpoint], **how: Any) -> Arrays:  # noqa: ANN401 - a session's keywords
        start = time.perf_counter()
        arrays: Arrays | None = None
        try:
            arrays = super().run(feeds, fetches, **how)
        finally:
            elapsed = microseconds_since(start)
            given, got = _bytes_of([array for _, array in feeds]), None if arrays is None else _bytes_of(arrays)
            with self._lock:
                self._runs.observe(elapsed)
                self._inputs.observe(given)
                if got is not None:
                    self._outputs.observe(got)
        return arrays


def _bytes_of(arrays: Arrays) -> int:
    """What TensorFlow counts for tensors (Tensor::TotalBytes): with a string goes what TF_TString takes by itself."""
    size = 0
    for array in arrays:
        if array.dtype.hasobject:
            size += array.size * TSTRING_BYTES + sum(map(len, array.ravel().tolist()))
        else:
            size += array.nbytes
    return size


class _MonitoredBatching(Batching):
    def __init__(
        self,
        session: Session,
        parameters: BatchingParameters,
        scheduler: BatchScheduler,
        metrics: Monitoring,
        lock: threading.Lock,
    ) -> None:
        super().__init__(session, parameters, scheduler)
        self._waited = metrics.queuing_latency.cell(parameters.thread_pool_name)
        self._runs, self._lock = metrics.wrapped_run_count, lock

    def run_tasks(self, tasks: Sequence[Task]) -> list[Arrays]:
        now_s = time.monotonic()
        with self._lock:
            self._runs.add()
            for task in tasks:
                self._waited.observe((now_s - task.added_s) * 1e6)
        return super().run_tasks(tasks)
