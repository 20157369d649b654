"""Threads that run blocking calls for asyncio."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Workers:
    """Runs each call in a thread: an idle one, or a new one. A cancelled call is not run if it has not started.

    The threads are daemon threads, so that a program can exit while a server does not answer.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        """Begin without threads. A forked process has none of its parent's."""
        self._process = os.getpid()
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._count = 0

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Start a call."""
        if self._process != os.getpid():
            self._start()
        future: Future[T] = Future()
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                self._count += 1
                threading.Thread(target=self._work, name=f"tfsctl-{self._count}", daemon=True).start()
        self._queue.put((future, call))
        return future

    def stop(self) -> None:
        """End the threads, each after its current call."""
        for _ in range(self._count):
            self._queue.put(None)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            future, call = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # noqa: BLE001 - raised where the call is awaited
                    future.set_exception(error)
            del item, future, call
            with self._lock:
                self._idle += 1
