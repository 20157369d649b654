"""Counts and limits the requests that wait in all queues of a server."""

from __future__ import annotations

import math
import time

from tfsctl.server.monitoring.recorder import Recorder
from tfsctl.server.process.resources import memory_limit_bytes
from tfsctl.server.status import Code, ServingError

_MEMORY_SHARE = 8  # the queues may hold an eighth of the memory that the server may use
_REQUEST_BYTES = 16 * 1024  # bytes of a waiting request besides its tensors: task, stream, headers, parsed message
_MAX_RETRY_AFTER_S = 60
_RATE_WEIGHT = 0.1  # of the newest batch in the moving average


class QueueLimits:
    """The requests that wait in all queues, and how many may.

    `max_requests` 0 derives the number from `max_bytes`; `max_bytes` 0 is an eighth of the memory that the server may
    use. Requests are also refused if, at the model's current rate, they would wait for longer than `max_wait_s`.
    """

    def __init__(
        self, recorder: Recorder, *, max_requests: int = 0, max_bytes: int = 0, max_wait_s: float = math.inf
    ) -> None:
        self._recorder = recorder
        self.max_bytes = max_bytes or memory_limit_bytes() // _MEMORY_SHARE
        self.max_requests = max_requests or max(1, self.max_bytes // _REQUEST_BYTES)
        self.max_wait_s = max_wait_s
        self.requests = 0
        self.nbytes = 0
        self.rejected = 0
        recorder.add_gauge("queued_requests", lambda: self.requests)
        recorder.add_gauge("queued_bytes", lambda: self.nbytes)
        recorder.add_gauge("max_queued_requests", lambda: self.max_requests)

    def admit(self, nbytes: int, wait_s: float) -> None:
        """Count a request that is about to wait. Raises RESOURCE_EXHAUSTED if there is no room for it.

        `wait_s` is how long it is expected to wait.
        """
        if self.requests >= self.max_requests:
            raise self._full(f"{self.requests} requests are waiting", "--max_queued_requests", wait_s)
        if self.nbytes + nbytes > self.max_bytes and self.requests:
            raise self._full(f"waiting requests hold {self.nbytes} bytes", "--max_queued_bytes", wait_s)
        if wait_s > self.max_wait_s:
            raise self._full(f"a request would wait for {wait_s:.0f} s", "--max_queued_requests", wait_s)
        self.requests += 1
        self.nbytes += nbytes

    def release(self, requests: int, nbytes: int) -> None:
        """Uncount requests whose run begins, or whose client has left."""
        self.requests -= requests
        self.nbytes -= nbytes

    def _full(self, reason: str, flag: str, wait_s: float) -> ServingError:
        self.rejected += 1
        self._recorder.request_rejected("queue_full")
        retry_after_s = max(1, min(_MAX_RETRY_AFTER_S, math.ceil(wait_s)))
        return ServingError(
            Code.RESOURCE_EXHAUSTED,
            f"The server is overloaded: {reason} (limit set by {flag}). Retry after {retry_after_s} s.",
            retry_after_s=retry_after_s,
        )


class RunRate:
    """The moving average of the time that passes for each request of a queue while there is no pause."""

    def __init__(self) -> None:
        self.seconds_per_request = 0.0
        self._last_s: float | None = None

    def add(self, requests: int, *, is_idle: bool = False) -> None:
        """Record that a batch of that many requests has ended. `is_idle`: nothing else waits or runs."""
        now_s = time.perf_counter()
        if self._last_s is not None:
            seconds = (now_s - self._last_s) / requests
            self.seconds_per_request += (seconds - self.seconds_per_request) * _RATE_WEIGHT
        self._last_s = None if is_idle else now_s

    def pause(self) -> None:
        """Do not count the time until the next batch."""
        self._last_s = None
