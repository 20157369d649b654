"""The Recorder that keeps TensorFlow Serving's metrics (--monitoring_config_file), and a few of our own.

Names, labels and buckets: tensorflow_serving/servables/tensorflow/util.cc, batching/batching_session.cc,
servables/tensorflow/saved_model_warmup_util.cc, tensorflow/cc/saved_model/loader.cc and metrics.cc,
tensorflow/core/framework/metrics.cc. The names of ours begin with `:tfsctl:server:`.
"""
# ruff: noqa: D102 - Recorder documents the methods

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from tfsctl.server.monitoring.metrics import Counter, Gauge, Histogram, Metric, exponential, page
from tfsctl.server.monitoring.recorder import Recorder
from tfsctl.server.status import Code

_LATENCY_US, _TENSOR_BYTES = exponential(10, 1.8, 33), exponential(1, 4, 14)
_STALL_US = (1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6)
_MAX_NAME = 256  # characters of a model's name as a label: requests may contain any name
_RUNTIME = "TF1"  # the real server's name for a session; the other is TFRT
_OWN = ":tfsctl:server:"


class ServingMetrics(Recorder):
    """The metrics of one server. Latencies are in microseconds."""

    is_active = True

    def __init__(self) -> None:
        self._lock = threading.Lock()  # for the events of any thread
        self._failed_requests = Counter(":tensorflow:serving:request_count", "model_name", "status")
        self._request_latency = Histogram(
            ":tensorflow:serving:request_latency", "model_name", "API", "entrypoint", limits=_LATENCY_US
        )
        self._runtime_latency = Histogram(
            ":tensorflow:serving:runtime_latency", "model_name", "API", "runtime", limits=_LATENCY_US
        )
        self._request_example_counts = Histogram(
            ":tensorflow:serving:request_example_counts", "model", limits=exponential(1, 2, 15)
        )
        self._request_example_count_total = Counter(":tensorflow:serving:request_example_count_total", "model")
        self._request_log_count = Counter(":tensorflow:serving:request_log_count", "model_name", "status_code")
        self._model_warmup_latency = Histogram(
            ":tensorflow:serving:model_warmup_latency", "model_path", "status", limits=_LATENCY_US
        )
        self._queuing_latency = Histogram(
            ":tensorflow:serving:batching_session:queuing_latency",
            "thread_pool_name",
            limits=exponential(100, 1.2, 52),
        )
        self._wrapped_run_count = Counter(":tensorflow:serving:batching_session:wrapped_run_count")
        self._load_attempt_count = Counter(":tensorflow:cc:saved_model:load_attempt_count", "model_path", "status")
        self._load_latency = Counter(":tensorflow:cc:saved_model:load_latency", "model_path")
        self._saved_model_reads = Counter(":tensorflow:core:saved_model:read:count", "write_version")
        self._saved_model_readers = Counter(":tensorflow:core:saved_model:read:api", "api_label")
        self._graph_run_time = Histogram(
            ":tensorflow:core:graph_run_time_usecs_histogram", limits=exponential(1000, 2, 20)
        )
        self._graph_run_inputs = Histogram(":tensorflow:core:graph_run_input_tensor_bytes", limits=_TENSOR_BYTES)
        self._graph_run_outputs = Histogram(":tensorflow:core:graph_run_output_tensor_bytes", limits=_TENSOR_BYTES)
        self._rejected_requests = Counter(f"{_OWN}rejected_requests", "reason")
        self._crashed_runs = Counter(f"{_OWN}crashed_runs", "model_name")
        self._loop_stalls = Histogram(f"{_OWN}event_loop_stall_usecs", limits=_STALL_US)
        self._gauges: dict[str, Gauge] = {}

    def page(self) -> bytes:
        """The text page that Prometheus reads."""
        return page(self._metrics())

    def counter_value(self, name: str) -> int | None:
        """A counter by its name in TensorFlow: the value of its first label values, 0 if there is no such counter."""
        named = (metric for metric in self._metrics() if metric.name.replace(":", "/") == name)
        return next((metric.first() for metric in named if isinstance(metric, Counter)), 0)

    def _metrics(self) -> list[Metric]:
        """All metrics; those that follow from a histogram are computed from it."""
        kept = [value for value in vars(self).values() if value is not self._failed_requests]
        metrics: list[Metric] = [value for value in kept if isinstance(value, (Counter, Histogram))]
        succeeded = [((name, Code.OK.name), count) for (name, *_), count in self._request_latency.counts().items()]
        metrics.append(self._failed_requests.with_added(succeeded))
        runs = self._graph_run_time.counts().items()
        metrics += [
            Counter(f":tensorflow:core:{name}").with_added(runs) for name in ("direct_session_runs", "graph_runs")
        ]
        time_us = [((), int(self._graph_run_time.cell().total))] if runs else []
        metrics.append(Counter(":tensorflow:core:graph_run_time_usecs").with_added(time_us))
        return [*metrics, *self._gauges.values()]

    def request_succeeded(self, model: str, api: str, protocol: str, seconds: float) -> None:
        self._request_latency.cell(model[:_MAX_NAME], api, protocol).observe(seconds * 1e6)

    def request_failed(self, model: str, code: Code) -> None:
        self._failed_requests.add(model[:_MAX_NAME], code.name)

    def request_rejected(self, reason: str) -> None:
        self._rejected_requests.add(reason)

    def inference_finished(self, model: str, api: str, seconds: float, *, requests: int = 1) -> None:
        self._runtime_latency.cell(model, api, _RUNTIME).observe(seconds * 1e6, times=requests)

    def examples_classified(self, model: str, examples: int) -> None:
        self._request_example_counts.cell(model).observe(examples)
        self._request_example_count_total.add(model, by=examples)

    def graph_run(self, seconds: float, input_bytes: int, output_bytes: int | None) -> None:
        with self._lock:
            self._graph_run_time.cell().observe(seconds * 1e6)
            self._graph_run_inputs.cell().observe(input_bytes)
            if output_bytes is not None:
                self._graph_run_outputs.cell().observe(output_bytes)

    def batch_started(self, thread_pool: str, waits_s: Sequence[float]) -> None:
        with self._lock:
            self._wrapped_run_count.add()
            cell = self._queuing_latency.cell(thread_pool)
            for wait_s in waits_s:
                cell.observe(wait_s * 1e6)

    def load_succeeded(self, path: str, seconds: float, *, has_object_graph: bool) -> None:
        with self._lock:
            self._load_attempt_count.add(path, "success")
            self._load_latency.add(path, by=int(seconds * 1e6))
            self._saved_model_reads.add("2" if has_object_graph else "1")
            self._saved_model_readers.add("cc_load")

    def load_failed(self, path: str) -> None:
        with self._lock:
            self._load_attempt_count.add(path, "fail")

    def warmup_finished(self, path: str, status: str, seconds: float) -> None:
        with self._lock:
            self._model_warmup_latency.cell(path, status).observe(seconds * 1e6)

    def request_logged(self, model: str, status: str, *, times: int = 1) -> None:
        with self._lock:
            self._request_log_count.add(model[:_MAX_NAME], status, by=times)

    def run_crashed(self, model: str) -> None:
        self._crashed_runs.add(model)

    def loop_stalled(self, seconds: float) -> None:
        self._loop_stalls.cell().observe(seconds * 1e6)

    def add_gauge(self, name: str, read: Callable[[], float]) -> None:
        self._gauges[name] = Gauge(f"{_OWN}{name}", read)
