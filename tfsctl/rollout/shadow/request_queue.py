"""The queue of a collector: copied requests wait in it until a thread sends them."""

from __future__ import annotations

import threading
from collections import deque

from tfsctl.rollout.shadow.copied_request import CopiedRequest

MAX_REQUESTS, MAX_BYTES = 1000, 64 * 1024 * 1024


class RequestQueue:
    """A bounded queue between the event loop and the threads that send. A full queue refuses requests."""

    def __init__(self, max_requests: int = MAX_REQUESTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_requests, self._max_bytes = max_requests, max_bytes
        self._waiting: deque[CopiedRequest] = deque()
        self._bytes = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def put(self, request: CopiedRequest) -> bool:
        """Add a request. Returns False if the queue is full or closed."""
        with self._changed:
            is_full = len(self._waiting) >= self._max_requests or self._bytes + len(request.body) > self._max_bytes
            if is_full or self._is_closed:
                return False
            self._waiting.append(request)
            self._bytes += len(request.body)
            self._changed.notify()
            return True

    def get(self) -> CopiedRequest | None:
        """Wait for a request. Returns None if the queue is closed and empty."""
        with self._changed:
            while not self._waiting:
                if self._is_closed:
                    return None
                self._changed.wait()
            request = self._waiting.popleft()
            self._bytes -= len(request.body)
            return request

    def close(self) -> None:
        """Take no more requests. Those that wait are still handed out."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def clear(self) -> int:
        """Forget the requests that wait. Returns how many there were."""
        with self._changed:
            count = len(self._waiting)
            self._waiting.clear()
            self._bytes = 0
            return count
