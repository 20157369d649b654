"""Sends the requests of a recording again, at the recorded pace or another, and measures the answers."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tfsctl.core import protos
from tfsctl.data.readers.prediction_logs import read_recording
from tfsctl.errors import InvalidInput

_MAX_TIME = 4e9  # Unix time; threads cannot wait for much longer times

LATE_S = 0.05  # a request counts as late if it is sent this long after its time
_TICK_S = 0.2  # how often `is_stopped` is called during a wait


@dataclass(frozen=True, slots=True)
class PacedRequest:
    """A recorded request, the time it was sent in seconds after the first one, and how long its answer took."""

    log: protos.PredictionLog
    offset_s: float
    latency_ms: float | None


@dataclass(slots=True)
class ReplayResult:
    """Codes and latencies of the answers. `recorded_ms` are the latencies in the recording, without the network."""

    codes: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    recorded_ms: list[float] = field(default_factory=list)
    late: int = 0
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        """How many requests were answered."""
        return sum(self.codes.values())


def percentiles(values_ms: Iterable[float]) -> dict[str, float] | None:
    """p50, p90, p99 and the largest of some latencies; None without any."""
    values = np.array(list(values_ms))
    if not len(values):
        return None
    found = {f"p{rank}": float(np.percentile(values, rank)) for rank in (50, 90, 99)} | {"max": float(values.max())}
    return {name: round(value, 3) for name, value in found.items()}


def paced_requests(
    recording: Path | str, *, note: Callable[[str], None] = lambda _text: None
) -> Iterator[PacedRequest]:
    """The requests with their times: from the index, or from the records, which have whole seconds only."""
    first_s: float | None = None
    file: Path | str | None = None
    index: Mapping[int, Mapping[str, float]] = {}
    for request in read_recording(recording, note=note):
        if request.file != file:
            file, index = request.file, _index(request.file)
        line = index.get(request.number, {})
        time_s = float(line.get("time", request.log.log_metadata.timestamp_secs))
        first_s = time_s if first_s is None else first_s
        yield PacedRequest(request.log, max(0.0, time_s - first_s), line.get("latency_ms"))
    if first_s is None:
        raise InvalidInput(f"{recording} has no requests")


def _index(file: Path | str) -> Mapping[int, Mapping[str, float]]:
    """The lines of the index of a file, by the number of the record; empty if there is none."""
    try:
        lines = Path(file).with_suffix(".jsonl").read_bytes().split(b"\n")[:-1]
    except OSError:
        return {}
    found: dict[int, Mapping[str, float]] = {}
    for line in lines:
        with suppress(RecursionError, ValueError, TypeError, KeyError, AttributeError):  # not a line of an index
            entry = json.loads(line)
            numbers = {name: float(entry[name]) for name in ("time", "latency_ms") if entry.get(name) is not None}
            if "record" in entry and all(abs(number) < _MAX_TIME for number in numbers.values()):
                found[int(entry["record"])] = numbers
    return found


def replay(
    requests: Iterable[PacedRequest],
    send: Callable[[protos.PredictionLog], str],
    *,
    speed: float,
    concurrency: int,
    is_stopped: Callable[[], bool] = lambda: False,
    show: Callable[[int], None] = lambda _count: None,
) -> ReplayResult:
    """Send the requests and return the result. `send` returns the status code of an answer.

    At most `concurrency` requests are in flight; one that has to wait for another is sent late. A `speed` of 2 halves the
    times between requests; 0 sends each without waiting for its time.
    """
    result, lock, slots = ReplayResult(), threading.Lock(), threading.Semaphore(concurrency)
    begun_s = time.monotonic()

    def send_one(request: PacedRequest) -> None:
        try:
            sent_s = time.perf_counter()
            code = send(request.log)
            latency_ms = 1e3 * (time.perf_counter() - sent_s)
        finally:
            slots.release()
        with lock:
            result.codes[code] += 1
            result.latencies_ms.append(latency_ms)
            if request.latency_ms is not None:
                result.recorded_ms.append(request.latency_ms)

    with ThreadPoolExecutor(concurrency, thread_name_prefix="replay") as pool:
        for request in requests:
            due_s = begun_s + request.offset_s / speed if speed else 0.0
            while (left_s := due_s - time.monotonic()) > 0 and not is_stopped():
                time.sleep(min(left_s, _TICK_S))
            slots.acquire()
            if is_stopped():
                break
            result.late += bool(speed) and time.monotonic() - due_s > LATE_S
            pool.submit(send_one, request)
            show(result.requests)
    result.seconds = time.monotonic() - begun_s
    return result
