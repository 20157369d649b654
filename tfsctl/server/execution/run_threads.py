"""Threads that run a model. One whose run crashes in TensorFlow is lost, and another takes its place."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import TypeVar

from tfsctl.server.process import priorities
from tfsctl.server.runtime import crash_handler
from tfsctl.server.runtime.crash_handler import Report
from tfsctl.server.status import Code, ServingError

log = logging.getLogger(__name__)

_T = TypeVar("_T")
WAIT_AFTER_CRASH_S = 60.0
_JOIN_S = 0.1  # between two looks whether the thread that `close` waits for was lost
RunJob = Callable[[], Callable[[], object]]
"""Returns what hands over the result, which is called next in the same thread unless TensorFlow has crashed."""


class RunCrashedError(ServingError):
    """A run in which TensorFlow crashed."""

    def __init__(self, signal_name: str) -> None:
        super().__init__(Code.INTERNAL, f"The run crashed in TensorFlow ({signal_name})")


class RunThreads:
    """At most `size` threads, started when there is work for them. Their names begin with `name`.

    The standard library's pool waits at the end for a thread that never ends, and starts no other in its place.
    """

    def __init__(self, size: int, name: str, *, low_priority: bool) -> None:
        self._name, self._low_priority = name, low_priority
        self._numbers = count()
        self._jobs: SimpleQueue[tuple[RunJob, Report] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._startable = size
        self._idle = threading.Semaphore(0)
        """Counts threads that wait for work, until all are started."""
        self._lost = 0

    def submit(self, work: RunJob, report: Report) -> None:
        """Call `work` in a thread. If TensorFlow crashes meanwhile, `report` is called with the signal's name instead."""
        self._jobs.put((work, report))
        if self._startable and not self._idle.acquire(blocking=False):
            self._start()
        if self._lost:
            self.replace_lost()

    def call(self, work: Callable[..., _T], *arguments: object) -> Future[_T]:
        """Call `work` in a thread. The result is a RunCrashedError if TensorFlow crashes in it."""
        future: Future[_T] = Future()

        def run() -> Callable[[], object]:
            try:
                return partial(future.set_result, work(*arguments))
            except Exception as error:  # noqa: BLE001 - it is the result
                return partial(future.set_exception, error)

        self.submit(run, lambda signal_name: future.set_exception(RunCrashedError(signal_name)))
        return future

    def replace_lost(self) -> None:
        """Start a thread for each one that is lost. Call it in a thread of normal priority, which new ones inherit."""
        while True:
            with self._lock:
                if not self._lost:
                    return
                self._lost -= 1
                self._startable += 1
            self._start()

    def close(self) -> bool:
        """Wait until all work is done, and end the threads. Nothing may be submitted any more.

        Returns False if a thread still works a minute after a crash: it may wait for a lock that the crashed run holds.
        """
        with self._lock:
            threads = list(self._threads)
        for _ in threads:
            self._jobs.put(None)
        end_s = time.monotonic() + WAIT_AFTER_CRASH_S
        for thread in threads:
            while thread.is_alive() and thread in self._threads:
                thread.join(_JOIN_S)
                if crash_handler.has_crashed() and time.monotonic() > end_s:
                    return False
        return True

    def _start(self) -> None:
        with self._lock:
            if not self._startable:
                return
            self._startable -= 1
            thread = threading.Thread(target=self._work, name=f"{self._name}_{next(self._numbers)}", daemon=True)
            self._threads.add(thread)
        thread.start()

    def _work(self) -> None:
        if self._low_priority:
            priorities.lower_priority()
        while True:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                if self._startable:
                    self._idle.release()
                job = self._jobs.get()
            if job is None:
                return
            work, report = job
            crash_handler.watch(partial(self._report, threading.current_thread(), report))
            hand_over: Callable[[], object] | None = None
            try:
                hand_over = work()
            except Exception:  # bugs end here: the thread goes on
                log.exception("A run failed in an unexpected way")
            if not crash_handler.unwatch():
                return  # another thread has taken this one's place
            if hand_over is not None:
                hand_over()
            del job, work, report, hand_over

    def _report(self, thread: threading.Thread, report: Report, signal_name: str) -> None:
        with self._lock:
            self._threads.discard(thread)
            self._lost += 1
        report(signal_name)
