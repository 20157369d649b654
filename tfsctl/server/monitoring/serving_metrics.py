"""TensorFlow Serving's metrics (--monitoring_config_file): what they are called, and where each is recorded.

The parts of the server are not told that they are watched: with monitoring on, those in this file and in
`monitored_loader.py` stand in their place; with monitoring off none of this runs. Names, labels and buckets: tensorflow_serving/servables/tensorflow/util.cc,
batching/batching_session.cc, servables/tensorflow/saved_model_warmup_util.cc, tensorflow/cc/saved_model/loader.cc and
metrics.cc, tensorflow/core/framework/metrics.cc.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from time import perf_counter
from typing import Any

import numpy as np

from tfsctl.core.types import ModelRef
from tfsctl.server.config.flags import Flags
from tfsctl.server.config.monitoring_config import prometheus_path
from tfsctl.server.lifecycle.server_core import ServerCore
from tfsctl.server.monitoring.metrics import Cell, Counter, Histogram, exponential, page
from tfsctl.server.rest import api as rest
from tfsctl.server.service.model_service import Inferred, Predicted, Service
from tfsctl.server.signatures.examples import CLASSIFY_METHOD
from tfsctl.server.status import Code, ServingError

_LATENCY_US, _TENSOR_BYTES = exponential(10, 1.8, 33), exponential(1, 4, 14)
_LONGEST_NAME = 256  # of a model, as a label: a request may name any
_RUNTIME = "TF1"  # what the real server calls a session; the other is TFRT

Handler = Callable[[Any, float | None], Awaitable[Any]]


class Monitoring:
    """The metrics of one server. Latencies are in microseconds."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.failed_requests = Counter(":tensorflow:serving:request_count", "model_name", "status")
        self.request_latency = Histogram(
            ":tensorflow:serving:request_latency", "model_name", "API", "entrypoint", limits=_LATENCY_US
        )
        self.runtime_latency = Histogram(
            ":tensorflow:serving:runtime_latency", "model_name", "API", "runtime", limits=_LATENCY_US
        )
        self.request_example_counts = Histogram(
            ":tensorflow:serving:request_example_counts", "model", limits=exponential(1, 2, 15)
        )
        self.request_example_count_total = Counter(":tensorflow:serving:request_example_count_total", "model")
        self.request_log_count = Counter(":tensorflow:serving:request_log_count", "model_name", "status_code")
        self.model_warmup_latency = Histogram(
            ":tensorflow:serving:model_warmup_latency", "model_path", "status", limits=_LATENCY_US
        )
        self.queuing_latency = Histogram(
            ":tensorflow:serving:batching_session:queuing_latency",
            "thread_pool_name",
            limits=exponential(100, 1.2, 52),
        )
        self.wrapped_run_count = Counter(":tensorflow:serving:batching_session:wrapped_run_count")
        self.load_attempt_count = Counter(":tensorflow:cc:saved_model:load_attempt_count", "model_path", "status")
        self.load_latency = Counter(":tensorflow:cc:saved_model:load_latency", "model_path")
        self.saved_model_reads = Counter(":tensorflow:core:saved_model:read:count", "write_version")
        self.saved_model_readers = Counter(":tensorflow:core:saved_model:read:api", "api_label")
        self.graph_run_time = Histogram(
            ":tensorflow:core:graph_run_time_usecs_histogram", limits=exponential(1000, 2, 20)
        )
        self.graph_run_inputs = Histogram(":tensorflow:core:graph_run_input_tensor_bytes", limits=_TENSOR_BYTES)
        self.graph_run_outputs = Histogram(":tensorflow:core:graph_run_output_tensor_bytes", limits=_TENSOR_BYTES)

    def page(self) -> bytes:
        """The page of text that Prometheus reads."""
        return page(self._metrics())

    def counted(self, name: str) -> int:
        """What a reload is told of a counter, by its name in TensorFlow: that of the first labels, 0 for no counter."""
        named = (one for one in self._metrics() if one.name.replace(":", "/") == name)
        return next((one.first() for one in named if isinstance(one, Counter)), 0)

    def _metrics(self) -> list[Counter | Histogram]:
        """All of them; what follows from a histogram is not counted by itself."""
        own = [one for one in vars(self).values() if one is not self.failed_requests]
        metrics = [one for one in own if isinstance(one, (Counter, Histogram))]
        worked = [((name, Code.OK.name), count) for (name, *_), count in self.request_latency.counts().items()]
        metrics.append(self.failed_requests.with_more(worked))
        runs = self.graph_run_time.counts().items()
        metrics += [
            Counter(f":tensorflow:core:{name}").with_more(runs) for name in ("direct_session_runs", "graph_runs")
        ]
        time_us = [((), int(self.graph_run_time.cell().total))] if runs else []
        metrics.append(Counter(":tensorflow:core:graph_run_time_usecs").with_more(time_us))
        return metrics

    def grpc_call(self, api: str, handler: Handler) -> Handler:
        """A gRPC handler whose calls are counted as those of one API."""
        cell_of = lru_cache(lambda name: self.request_latency.cell(name[:_LONGEST_NAME], api, "GRPC"))

        async def watched(request: Any, deadline_s: float | None) -> Any:  # noqa: ANN401 - generated messages
            start = perf_counter()
            try:
                response = await handler(request, deadline_s)
            except Exception as error:
                code = error.code if isinstance(error, ServingError) else Code.INTERNAL
                self.failed_requests.add(request.model_spec.name[:_LONGEST_NAME], code.name)
                raise
            cell_of(request.model_spec.name).observe(microseconds_since(start))
            return response

        return watched

    def rest_api(self, api: rest.Api) -> rest.Api:
        """A REST API whose requests are counted, and that shows the page."""
        return _MonitoredRest(api, self)

    def service(self, core: ServerCore, *, check_method_names: bool) -> Service:
        """A service whose runs are timed."""
        return _MonitoredService(core, check_method_names=check_method_names, monitoring=self)


def monitoring(flags: Flags) -> Monitoring | None:
    """What the flags ask for; None without --monitoring_config_file, or without REST, which shows the page."""
    path = prometheus_path(flags.monitoring_config_file) if flags.rest_api_port else ""
    return Monitoring(path) if path else None


class _MonitoredRest:
    """Counts every request that a REST API answers, as TensorFlow Serving does: GETs are those of the API ""."""

    def __init__(self, api: rest.Api, metrics: Monitoring) -> None:
        self._api = api
        self._metrics = metrics
        self._cell = lru_cache(1024)(self._new_cell)

    async def answer(self, method: str, target: str, headers: Mapping[bytes, bytes], body: bytes) -> rest.Reply:
        if target.startswith(self._metrics.path) and target.partition("?")[0] == self._metrics.path:
            return self._page(target)
        start = perf_counter()
        reply = await self._api.answer(method, target, headers, body)
        if reply.code is Code.OK:
            self._cell(method, target).observe(microseconds_since(start))
        elif reply.content_type != b"text/html":  # those pages stand for what never reached the API
            name, _ = rest.model_and_verb(method, target)
            self._metrics.failed_requests.add(name[:_LONGEST_NAME], reply.code.name)
        return reply

    def _new_cell(self, method: str, target: str) -> Cell:
        name, verb = rest.model_and_verb(method, target)
        return self._metrics.request_latency.cell(name[:_LONGEST_NAME], verb, "REST")

    def _page(self, target: str) -> rest.Reply:
        if target == self._metrics.path:
            return rest.Reply(200, self._metrics.page(), b"text/plain")
        said = f"Unexpected path: {target}. Should be {self._metrics.path}"
        return rest.Reply(400, said.encode("utf-8", "replace"), b"text/plain", code=Code.INVALID_ARGUMENT)


class _MonitoredService(Service):
    """Times what a request waits for its run, and counts the examples of those that bring some."""

    def __init__(self, core: ServerCore, *, check_method_names: bool, monitoring: Monitoring) -> None:
        super().__init__(core, check_method_names=check_method_names)
        self._metrics = monitoring
        self._cell = lru_cache(lambda name, api: monitoring.runtime_latency.cell(name, api, _RUNTIME))

    async def predict(self, ref: ModelRef, *args: Any, **kwargs: Any) -> Predicted:  # noqa: ANN401 - whatever that takes which this stands for
        start = perf_counter()
        predicted = await super().predict(ref, *args, **kwargs)
        self._cell(ref.name, "Predict").observe(microseconds_since(start))
        return predicted

    async def predict_together(
        self,
        ref: ModelRef,
        signature: str,
        stacked: Mapping[str, np.ndarray],
        **kwargs: Any,  # noqa: ANN401 - as above
    ) -> Predicted:
        start = perf_counter()
        predicted = await super().predict_together(ref, signature, stacked, **kwargs)
        cell, elapsed = self._cell(ref.name, "Predict"), microseconds_since(start)
        for _ in next(iter(stacked.values())):
            cell.observe(elapsed)
        return predicted

    async def infer(
        self,
        ref: ModelRef,
        tasks: Sequence[tuple[str, str]],
        *args: Any,  # noqa: ANN401 - as above
        **kwargs: Any,  # noqa: ANN401 - as above
    ) -> Inferred:
        start = perf_counter()
        inferred = await super().infer(ref, tasks, *args, **kwargs)
        if len(tasks) == 1:
            api = "Classify" if tasks[0][0] == CLASSIFY_METHOD else "Regress"
            self._cell(ref.name, api).observe(microseconds_since(start))
        examples = len(inferred.results[0])
        self._metrics.request_example_counts.cell(ref.name).observe(examples)
        self._metrics.request_example_count_total.add(ref.name, by=examples)
        return inferred


def microseconds_since(start: float) -> float:
    """The microseconds since a moment of time.perf_counter()."""
    return (perf_counter() - start) * 1e6
