"""The Recorder: what each part of the server reports to while it works. Look here to add a metric.

A new metric takes two methods: one here that does nothing, and one in `serving_metrics.py` that counts. Parts of the
server take a Recorder as a constructor argument; without monitoring it is a NullRecorder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tfsctl.server.status import Code


class Recorder:
    """The events of one server. Every method here does nothing. Times are in seconds, sizes in bytes.

    Methods marked "any thread" are safe to call from any thread; all others belong to the event loop's thread.
    """

    is_active = False
    """Whether events are kept. Check it before computing arguments that cost more than reading a clock."""

    def request_succeeded(self, model: str, api: str, protocol: str, seconds: float) -> None:
        """A request was answered. `api` is "Predict" (gRPC) or "predict" (REST) and so on; `protocol` GRPC or REST."""

    def request_failed(self, model: str, code: Code) -> None:
        """A request was answered with an error."""

    def request_rejected(self, reason: str) -> None:
        """A request was refused because of a limit. `reason` is a fixed word: "queue_full", "draining" and so on."""

    def inference_finished(self, model: str, api: str, seconds: float, *, requests: int = 1) -> None:
        """A request got its tensors. `requests` that were stacked into one run count as one observation each."""

    def examples_classified(self, model: str, examples: int) -> None:
        """A Classify, Regress or MultiInference request brought this many tf.Examples."""

    def graph_run(self, seconds: float, input_bytes: int, output_bytes: int | None) -> None:
        """TensorFlow ran a graph; `output_bytes` is None if the run failed. Any thread."""

    def batch_started(self, thread_pool: str, waits_s: Sequence[float]) -> None:
        """A batch of TensorFlow Serving's batching began, after each of its tasks had waited so long. Any thread."""

    def load_succeeded(self, path: str, seconds: float, *, has_object_graph: bool) -> None:
        """A SavedModel was loaded. Any thread."""

    def load_failed(self, path: str) -> None:
        """A SavedModel could not be loaded. Any thread."""

    def warmup_finished(self, path: str, status: str, seconds: float) -> None:
        """The warmup requests of a version ended: `status` is "OK" or the error. Any thread."""

    def request_logged(self, model: str, status: str, *, times: int = 1) -> None:
        """A sampled request was written to the request log ("OK"), or was not. Any thread.

        Other statuses: "RESOURCE_EXHAUSTED" (the queue of the log was full), "INTERNAL" (it could not be converted),
        "DATA_LOSS" (the file could not be written).
        """

    def run_crashed(self, model: str) -> None:
        """TensorFlow crashed in a run of a model, which cost the server a thread."""

    def loop_stalled(self, seconds: float) -> None:
        """One callback held the event loop for this long."""

    def add_gauge(self, name: str, read: Callable[[], float]) -> None:
        """Show a current value (queue depth, open connections, a limit) as `:tfsctl:server:NAME`.

        `read` is called on the event loop each time the metrics page is written, so a gauge costs requests nothing.
        """

    def counter_value(self, name: str) -> int | None:
        """A counter by its name in TensorFlow (0 if there is no such counter), None if events are not kept."""
        del name
        return None


class NullRecorder(Recorder):
    """Keeps nothing: the recorder of a server without --monitoring_config_file."""
