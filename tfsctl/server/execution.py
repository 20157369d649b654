"""When and where a servable's runs take place: merged or alone, on the event loop or in threads.

Requests that wait together leave together. A quick model runs on the event loop, at the end of the turn in which its
requests came: handing even some of its runs to a thread costs more than it frees. A slow one runs in threads, and what
comes meanwhile waits for the next free one. Rows are merged into one run only where that is known to change no answer.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence

import numpy as np

from tfsctl.server import background
from tfsctl.server.pace import Pace
from tfsctl.server.session import Endpoint, Session
from tfsctl.server.status import Code, ServingError

SMALL_INPUT_BYTES, SMALL_INPUT_ROWS = 256 * 1024, 128  # a larger run is no measure for the others
MAX_MERGED_ROWS = 1024
_MERGING_TURNS = 3
_LOOP_TURN_S = 0.004  # what quick runs may take of the event loop before others have their turn

Feeds = Sequence[tuple[Endpoint, np.ndarray]]
Arrays = list[np.ndarray]


class Waiting:
    """One request's run, not yet done. `key` is equal for runs that may be merged, None for one that may not.

    `rows` are those of its first input: what this run adds to a merged one.
    """

    __slots__ = ("answer", "deadline_s", "feeds", "fetches", "key", "rows")

    def __init__(
        self,
        feeds: Feeds,
        fetches: Sequence[Endpoint],
        deadline_s: float | None,
        answer: asyncio.Future[Arrays],
        merge_key: object,
    ) -> None:
        self.feeds, self.fetches, self.deadline_s, self.answer = feeds, fetches, deadline_s, answer
        shape = feeds[0][1].shape if feeds else ()
        self.rows = shape[0] if shape else 1
        self.key = None if merge_key is None or not shape else _merge_key(merge_key, feeds, self.rows)


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
        self._threads = background.executor(self._workers, f"run-{name}")

    def submit(
        self, feeds: Feeds, fetches: Sequence[Endpoint], *, deadline_s: float | None, merge_key: object = None
    ) -> asyncio.Future[Arrays]:
        """The arrays to come from one run. `deadline_s` is a time.monotonic() moment.

        `merge_key` names a signature whose rows do not affect each other: such runs may be merged.
        """
        answer: asyncio.Future[Arrays] = self._loop.create_future()
        waiting = Waiting(feeds, fetches, deadline_s, answer, merge_key)
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
        waiting = self._waiting = [one for one in self._waiting if not _is_over(one)]
        if not waiting:
            return
        jobs = _jobs(waiting)
        if self._pace.is_quick and _are_small(waiting):
            rest = self._run_here(jobs)
        else:
            free = self._workers - self._busy
            rest = jobs[free:]
            for job in jobs[:free]:
                self._busy += 1
                self._threads.submit(self._work, job)
        self._waiting = [one for job in rest for one in job]

    def _run_here(self, jobs: list[list[Waiting]]) -> list[list[Waiting]]:
        """Run jobs on the event loop, as many as the other requests on it can wait for; returns the rest."""
        end_s = time.perf_counter() + _LOOP_TURN_S
        for index, job in enumerate(jobs, start=1):
            _settle(self._run(job))
            if index < len(jobs) and time.perf_counter() > end_s:
                self._flush_is_due = True
                self._loop.call_soon(self._flush)
                return jobs[index:]
        return []

    def _work(self, job: list[Waiting]) -> None:
        self._loop.call_soon_threadsafe(self._finish, self._run(job))

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
            return self._paced_run(waiting.feeds, waiting.fetches, [waiting])
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the answer
            return error

    def _run_merged(self, job: list[Waiting]) -> list[Outcome]:
        feeds = [
            (endpoint, np.concatenate([waiting.feeds[index][1] for waiting in job]))
            for index, (endpoint, _) in enumerate(job[0].feeds)
        ]
        arrays = self._paced_run(feeds, job[0].fetches, job)
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

    def _paced_run(self, feeds: Feeds, fetches: Sequence[Endpoint], job: list[Waiting]) -> Arrays:
        """Run as the model's pace has it; a large run tells nothing about that, and takes all threads."""
        if _are_small(job):
            timeout_ms = 0 if self._pace.is_quick else _timeout_ms(job)
            return self._pace.run(self._session, feeds, fetches, timeout_ms=timeout_ms)
        return self._session.run(feeds, fetches, timeout_ms=_timeout_ms(job))


def _merge_key(merge_key: object, feeds: Feeds, rows: int) -> object:
    """What must be equal for two runs to be merged; None if this one cannot be."""
    if not rows:
        return None
    if len(feeds) == 1:
        array = feeds[0][1]
        return merge_key, array.dtype.char, array.shape[1:]
    if any(array.shape[:1] != (rows,) for _, array in feeds):
        return None
    return (merge_key, *((array.dtype.char, array.shape[1:]) for _, array in feeds))


def _are_small(waiting: list[Waiting]) -> bool:
    """Whether runs are small enough to tell, or to keep, the model's pace."""
    size = rows = 0
    for one in waiting:
        rows += one.rows
        for _, array in one.feeds:
            size += array.nbytes
    return size < SMALL_INPUT_BYTES and rows <= SMALL_INPUT_ROWS


def _jobs(waiting: list[Waiting]) -> list[list[Waiting]]:
    """What waits as jobs: runs that may be merged together, the others alone."""
    jobs: list[list[Waiting]] = []
    open_jobs: dict[object, tuple[list[Waiting], int]] = {}  # by key: the last job, and its rows
    for one in waiting:
        if one.key is None:
            jobs.append([one])
            continue
        job, rows = open_jobs.get(one.key, (None, 0))
        if job is None or rows + one.rows > MAX_MERGED_ROWS:
            job, rows = [], 0
            jobs.append(job)
        job.append(one)
        open_jobs[one.key] = job, rows + one.rows
    return jobs


def _is_over(waiting: Waiting) -> bool:
    """Whether nobody needs the answer any more: it was given up, or is too late."""
    if waiting.deadline_s is not None and time.monotonic() > waiting.deadline_s and not waiting.answer.done():
        waiting.answer.set_exception(_too_late())
    return waiting.answer.done()


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
