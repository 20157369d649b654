"""The log of one model: sampled requests wait in a bounded queue, and a thread converts and writes them.

A request pays for being put into the queue, and never waits for the log: if the queue is full, its entry is dropped and
counted (`request_log_count` with the status RESOURCE_EXHAUSTED).
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import perf_counter

from tfsctl.core import protos
from tfsctl.server.monitoring.recorder import Recorder
from tfsctl.server.process.priorities import lower_priority
from tfsctl.server.request_log.input_privacy import InputPrivacy
from tfsctl.server.request_log.record_files import RecordFiles
from tfsctl.server.status import Code
from tfsctl.serving_config.request_logging import RequestLogging

log = logging.getLogger(__name__)

_MAX_BATCH = 64  # entries that are converted before they are written
_ENTRY_BYTES = 1024  # about what an entry takes besides its bodies


@dataclass(slots=True)
class SampledRequest:
    """A request that is to be logged, from its start on. `finish` puts it into the queue of the log.

    - `convert`: makes the PredictionLog of a finished request, in the thread of the log
    - `definitions`: the SignatureDef messages of the version; None if there is no such version
    - `time_s`: Unix time; `start_s`: the same moment on the clock of `perf_counter`
    """

    request_log: RequestLog
    convert: Callable[[SampledRequest], protos.PredictionLog]
    api: str
    protocol: str
    model: str
    version: int | None
    definitions: Mapping[str, protos.SignatureDef] | None
    body: bytes
    time_s: float
    start_s: float
    response: bytes = b""
    code: Code = Code.OK
    latency_s: float = 0.0

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        return _ENTRY_BYTES + len(self.body) + len(self.response)

    def index_line(self) -> dict[str, object]:
        """Its line in the index."""
        return {
            "time": round(self.time_s, 6),
            "api": self.api,
            "protocol": self.protocol,
            "model": self.model,
            "version": self.version,
            "code": self.code.name,
            "latency_ms": round(self.latency_s * 1e3, 3),
        }

    def finish(self, code: Code, response: bytes = b"") -> None:
        """The request was answered: with the response, if the code is OK."""
        self.code, self.latency_s = code, perf_counter() - self.start_s
        if self.request_log.logging.answers:
            self.response = response
        self.request_log.put(self)


class RequestLog:
    """The log of one model. `put` and `close` belong to the event loop's thread."""

    def __init__(self, model: str, config: RequestLogging, recorder: Recorder, *, max_queued_bytes: int) -> None:
        self.logging = config
        self.is_open = True
        self._model = model
        self._recorder = recorder
        self._max_queued_bytes = max_queued_bytes
        self._queue: SimpleQueue[SampledRequest | None] = SimpleQueue()
        self._put_bytes = self._taken_bytes = 0  # each is written by one thread only
        self._dropped = self._reported_drops = self._written = self._failed = 0
        self._privacy = InputPrivacy(config.drop, config.hash)
        self._files = RecordFiles(config)
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def is_sampled(self) -> bool:
        """Decide at random whether a request is logged."""
        return self.is_open and random.random() < self.logging.sampling_rate  # noqa: S311 - sampling

    def put(self, request: SampledRequest) -> None:
        """Queue a finished request; drop and count it if the queue is full."""
        if not self.is_open:
            return
        size = request.size
        if self._put_bytes - self._taken_bytes + size > self._max_queued_bytes:
            self._dropped += 1
            self._recorder.request_logged(self._model, Code.RESOURCE_EXHAUSTED.name)
            return
        self._put_bytes += size
        self._queue.put(request)

    def close(self) -> None:
        """End the log after what is queued. Does not wait."""
        if self._thread.is_alive():
            self.is_open = False
            self._queue.put(None)

    def wait_until_closed(self, timeout_s: float) -> None:
        """Wait for the thread, after `close`."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        """Write what is queued, in the thread of the log, until it is closed."""
        lower_priority()
        log.info("Logging requests of model %s to %s", self._model, _description(self.logging))
        is_open = True
        while is_open:
            try:
                first = self._queue.get(timeout=self._files.seconds_to_sync)
            except Empty:
                self._guarded(self._files.sync)
                continue
            is_open = self._write_batch(first)
        self._guarded(self._files.close)
        log.info(
            "Ended the request log of model %s: %d written, %d dropped, %d failed",
            *(self._model, self._written, self._dropped, self._failed),
        )

    def _write_batch(self, first: SampledRequest | None) -> bool:
        """Write an entry and those that wait behind it. Returns False at the end of the log."""
        entries: list[tuple[bytes | None, Mapping[str, object]]] = []
        entry, count = first, 0
        while entry is not None:
            count += 1
            converted = self._converted(entry)
            if converted is not None:
                entries.append(converted)
            self._taken_bytes += entry.size
            if count == _MAX_BATCH:
                break
            try:
                entry = self._queue.get_nowait()
            except Empty:
                break
        if entries and self._is_within_size():
            written, dropped = len(entries), self._dropped - self._reported_drops
            if dropped:
                entries.append((None, {"time": round(time.time(), 6), "dropped": dropped}))
                self._reported_drops += dropped
            if self._guarded(lambda: self._files.append(entries)):
                self._written += written
                self._recorder.request_logged(self._model, Code.OK.name, times=written)
            else:
                self._failed += written
                self._recorder.request_logged(self._model, Code.DATA_LOSS.name, times=written)
        return entry is not None

    def _is_within_size(self) -> bool:
        """Whether more may be written. Ends the sampling if not."""
        limit = self.logging.max_total_bytes
        if not limit or self._files.total_bytes < limit:
            return True
        if self.is_open:
            self.is_open = False
            log.info("The request log of model %s has reached its size of %d bytes", self._model, limit)
        return False

    def _converted(self, entry: SampledRequest) -> tuple[bytes | None, Mapping[str, object]] | None:
        """The record (None for a request that failed) and the line of the index; None if it cannot be converted."""
        if entry.code is not Code.OK:
            return None, entry.index_line()
        try:
            message = entry.convert(entry)
            if self._privacy.is_on:
                self._privacy.apply(message)
            metadata = message.log_metadata
            metadata.model_spec.name = entry.model
            if entry.version is not None:
                metadata.model_spec.version.value = entry.version
            metadata.sampling_config.sampling_rate = self.logging.sampling_rate
            metadata.timestamp_secs = int(entry.time_s)
            return message.SerializeToString(), entry.index_line()
        except Exception:  # an entry that cannot be converted must not end the log
            if not self._failed:
                log.exception("A request of model %s could not be converted for the request log", self._model)
            self._failed += 1
            self._recorder.request_logged(self._model, Code.INTERNAL.name)
            return None

    def _guarded(self, write: Callable[[], None]) -> bool:
        """Whether the files could be written. The first failure is logged."""
        try:
            write()
        except OSError as error:
            if not self._failed:
                log.error("The request log of model %s cannot be written: %s", self._model, error)  # noqa: TRY400
            return False
        return True


def _description(config: RequestLogging) -> str:
    """Where a log goes and what it holds, for people."""
    text = f"{config.filename_prefix}* ({100 * config.sampling_rate:.4g}% of the requests; inputs: all"
    text += f" except {', '.join(config.drop)}" if config.drop else ""
    return text + (f", hashed: {', '.join(config.hash)})" if config.hash else ")")


def read_clocks() -> tuple[float, float]:
    """The values of `time_s` and `start_s` of a request that begins now."""
    return time.time(), perf_counter()
