"""When and where a servable's runs take place: merged or alone, on the event loop or in threads.

Requests that wait together leave together. A quick model runs on the event loop, at the end of the turn in which its
requests came; handing it to a thread would cost more than the run. A slow one runs in threads, and what comes meanwhile
waits for the next free one. Rows are merged into one run only where that is known to change no answer.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfsctl.server.pace import Pace
from tfsctl.server.session import Endpoint, Session
from tfsctl.server.status import Code, ServingError

SMALL_INPUT_BYTES, SMALL_INPUT_ROWS = 256 * 1024, 128  # a larger run is no measure for the others
MAX_MERGED_ROWS = 1024
_MERGING_TURNS = 3

Feeds = Sequence[tuple[Endpoint, np.ndarray]]
Arrays = list[np.ndarray]


@dataclass(slots=True, eq=False)
class Waiting:
    """One request's run, not yet done. `key` is equal for runs that may be merged, None for one that may not."""

    feeds: Feeds
    fetches: Sequence[Endpoint]
    deadline_s: float | None
    answer: asyncio.Future[Arrays]
    key: object = None

    @property
    def rows(self) -> int:
        """The rows of its first input: what this run adds to a merged one."""
        shape = self.feeds[0][1].shape if self.feeds else ()
        return shape[0] if shape else 1


Outcome = tuple[Waiting, "Arrays | BaseException"]


class Execution:
    """Runs one session for many requests, all of them on one event loop."""

    def __init__(self, session: Session, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._session = session
        self._loop = loop
        self._waiting: list[Waiting] = []
        self._flush_is_due = False
        self._turns = 0
        self._seen = 0
        self._pace = Pace()
        self._workers = os.cpu_count() or 1
        self._busy = 0
        self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix=f"run-{name}")

    def submit(
        self, feeds: Feeds, fetches: Sequence[Endpoint], *, deadline_s: float | None, merge_key: object = None
    ) -> asyncio.Future[Arrays]:
        """The arrays to come from one run. `deadline_s` is a time.monotonic() moment.

        `merge_key` names a signature whose rows do not affect each other: such runs may be merged.
        """
        answer: asyncio.Future[Arrays] = self._loop.create_future()
        waiting = Waiting(feeds, fetches, deadline_s, answer, _merge_key(merge_key, feeds))
        self._waiting.append(waiting)
        if not self._pace.is_quick:
            self._watch_deadline(waiting)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)
        return answer

    def run_now(self, feeds: Feeds, fetches: Sequence[Endpoint]) -> Arrays:
        """Run on this thread, whatever else waits, and return the fetched arrays."""
        return self._session.run(feeds, fetches)

    def close(self) -> None:
        """End the threads, after their last run."""
        self._threads.shutdown(wait=True)

    def _flush(self) -> None:
        """Start what waits: here and now if it is quick, else as far as threads are free.

        While the turns of the loop still bring requests to merge, a few more turns are waited for.
        """
        waiting_now = len(self._waiting)
        if waiting_now > self._seen and self._turns < _MERGING_TURNS and self._waiting[0].key is not None:
            self._seen, self._turns = waiting_now, self._turns + 1
            self._loop.call_soon(self._flush)
            return
        self._flush_is_due, self._seen, self._turns = False, 0, 0
        self._start()

    def _start(self) -> None:
        if not self._waiting:
            return
        if self._pace.is_quick and _are_small(self._waiting):
            waiting, self._waiting = self._waiting, []
            jobs = list(_jobs(waiting))
            if len(jobs) == 1 or self._busy == self._workers:
                for job in jobs:
                    _settle(self._run(job))
                return
            self._hand_over(jobs)
            return
        self._waiting = [waiting for waiting in self._waiting if not waiting.answer.done()]  # too late, or given up
        while self._waiting and self._busy < self._workers:
            job, self._waiting = _next_job(self._waiting)
            self._hand_over([job])

    def _hand_over(self, jobs: list[list[Waiting]]) -> None:
        """Run jobs one after another in a thread: one hand-over there and one back, however many they are."""
        self._busy += 1
        self._threads.submit(self._work, jobs)

    def _work(self, jobs: list[list[Waiting]]) -> None:
        outcomes = [outcome for job in jobs for outcome in self._run(job)]
        self._loop.call_soon_threadsafe(self._finish, outcomes)

    def _finish(self, outcomes: list[Outcome]) -> None:
        self._busy -= 1
        _settle(outcomes)
        self._start()

    def _watch_deadline(self, waiting: Waiting) -> None:
        """Answer at the deadline, whether the run is waiting or under way."""
        if waiting.deadline_s is not None:
            left_s = waiting.deadline_s - time.monotonic()
            outcomes: list[Outcome] = [(waiting, _too_late())]
            timer = self._loop.call_later(left_s, _settle, outcomes)
            waiting.answer.add_done_callback(lambda _: timer.cancel())

    def _run(self, job: list[Waiting]) -> list[Outcome]:
        """Run one job on this thread: alone, or merged and taken apart again."""
        if len(job) > 1:
            try:
                return self._run_merged(job)
            except ServingError:
                pass  # one request's rows may be at fault: each gets its own answer
        return [(waiting, self._run_alone(waiting)) for waiting in job]

    def _run_alone(self, waiting: Waiting) -> Arrays | BaseException:
        try:
            return self._measured_run(waiting.feeds, waiting.fetches, [waiting])
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the answer
            return error

    def _run_merged(self, job: list[Waiting]) -> list[Outcome]:
        feeds = [
            (endpoint, np.concatenate([waiting.feeds[index][1] for waiting in job]))
            for index, (endpoint, _) in enumerate(job[0].feeds)
        ]
        arrays = self._measured_run(feeds, job[0].fetches, job)
        total = len(feeds[0][1])
        if any(array.ndim == 0 or len(array) != total for array in arrays):
            raise ServingError(Code.INTERNAL, "an output of a merged run does not have a row for each row of input")
        outcomes: list[Outcome] = []
        start = 0
        for waiting in job:
            end = start + waiting.rows
            outcomes.append((waiting, [array[start:end] for array in arrays]))
            start = end
        return outcomes

    def _measured_run(self, feeds: Feeds, fetches: Sequence[Endpoint], job: list[Waiting]) -> Arrays:
        """Run in this thread while the model is quick or being measured, else with all of TensorFlow's threads."""
        pace = self._pace
        if not (pace.wants_sample and _are_small(job)):
            pace.pass_by()
            return self._session.run(feeds, fetches, timeout_ms=_timeout_ms(job))
        start = time.thread_time()
        arrays = self._session.run(feeds, fetches, inline=True)
        pace.add(time.thread_time() - start)
        return arrays


def _merge_key(merge_key: object, feeds: Feeds) -> object:
    """What must be equal for two runs to be merged; None if this one cannot be."""
    if merge_key is None or not feeds:
        return None
    shapes = [array.shape for _, array in feeds]
    if not shapes[0] or not shapes[0][0] or any(shape[:1] != shapes[0][:1] for shape in shapes):
        return None
    return (merge_key, *((array.dtype.char, array.shape[1:]) for _, array in feeds))


def _are_small(waiting: list[Waiting]) -> bool:
    """Whether runs are small enough to tell, or to keep, the model's pace."""
    size = sum([array.nbytes for one in waiting for _, array in one.feeds])
    return size < SMALL_INPUT_BYTES and sum([one.rows for one in waiting]) <= SMALL_INPUT_ROWS


def _jobs(waiting: list[Waiting]) -> Any:  # noqa: ANN401 - an iterator of lists
    """Everything that waits, as jobs."""
    while waiting:
        job, waiting = _next_job(waiting)
        yield job


def _next_job(waiting: list[Waiting]) -> tuple[list[Waiting], list[Waiting]]:
    """The first run with all that may be merged with it, and the rest."""
    first = waiting[0]
    if first.key is None:
        return [first], waiting[1:]
    job: list[Waiting] = []
    rest: list[Waiting] = []
    rows = 0
    for one in waiting:
        if one.key == first.key and (rows + one.rows <= MAX_MERGED_ROWS or not job):
            job.append(one)
            rows += one.rows
        else:
            rest.append(one)
    return job, rest


def _settle(outcomes: list[Outcome]) -> None:
    for waiting, outcome in outcomes:
        if waiting.answer.done():
            continue
        if isinstance(outcome, BaseException):
            waiting.answer.set_exception(outcome)
        else:
            waiting.answer.set_result(outcome)


def _too_late() -> ServingError:
    return ServingError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")


def _timeout_ms(job: list[Waiting]) -> int:
    """How long a run may take: until the last deadline of those who wait for it; 0 for ever."""
    if any(waiting.deadline_s is None for waiting in job):
        return 0
    last = max(waiting.deadline_s or 0.0 for waiting in job)
    return max(1, int((last - time.monotonic()) * 1000))
