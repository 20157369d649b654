"""How requests become runs of a graph: merged, side by side or alone, on the event loop or in threads.

Requests that wait together leave together. A quick model runs on the event loop, at the end of the turn in which its
requests came. Wide runs of it take place at the same time, in threads that the loop waits for: with its own run inside
TensorFlow too, nobody waits for Python's lock, which is what makes any other handing over dearer than what it frees. A
slow model runs in threads, and what comes meanwhile waits for the next free one. Rows are merged into one run only where
that is known to change no answer; quick runs that may not be go side by side.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tfsctl.server import background
from tfsctl.server.jobs import Job, Outcome, Waiting, are_small, jobs_of, too_late
from tfsctl.server.pace import Pace
from tfsctl.server.session import Arrays, Endpoint, Feeds, Session
from tfsctl.server.side_by_side import SideBySide
from tfsctl.server.status import ServingError

_MERGING_TURNS = 3
_WIDE = 8  # requests side by side: TensorFlow works for as long as it takes to wake a thread, several times over
_LOOP_TURN_S = 0.004  # what quick runs may take of the event loop before others have their turn


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
        self._helpers = ThreadPoolExecutor(self._workers, thread_name_prefix=f"help-{name}")  # the loop waits for them
        self._side_by_side = SideBySide(session, name)

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
        self._side_by_side.close()
        self._helpers.shutdown(wait=True)
        self._threads.shutdown(wait=True)

    def _flush(self) -> None:
        """Start what waits: here and now if it is quick, else as far as threads are free.

        While the turns of the loop still bring requests to run together, a few more turns are waited for.
        """
        waiting_now = len(self._waiting)
        if waiting_now > self._seen and self._turns < _MERGING_TURNS and self._goes_together(self._waiting[0]):
            self._seen, self._turns = waiting_now, self._turns + 1
            self._loop.call_soon(self._flush)
            return
        self._flush_is_due, self._seen, self._turns = False, 0, 0
        self._start()

    def _goes_together(self, waiting: Waiting) -> bool:
        """Whether others may run with it, merged or side by side."""
        return waiting.key is not None or self._side_by_side.is_ready(waiting.kind)

    def _start(self) -> None:
        waiting = self._waiting = [one for one in self._waiting if not one.is_over()]
        if not waiting:
            return
        if self._pace.is_quick and are_small(waiting):
            rest = self._run_here(jobs_of(waiting, self._side_by_side.is_ready))
        else:
            jobs = jobs_of(waiting, lambda _kind: False)
            free = self._workers - self._busy
            rest = jobs[free:]
            for job in jobs[:free]:
                self._busy += 1
                self._threads.submit(self._work, job)
        self._waiting = [one for job in rest for one in job.waiting]

    def _run_here(self, jobs: list[Job]) -> list[Job]:
        """Run jobs on the event loop, as many as the other requests on it can wait for; returns the rest."""
        end_s = time.perf_counter() + _LOOP_TURN_S
        while jobs:
            at_once = _at_once(jobs, self._workers)
            now, jobs = jobs[:at_once], jobs[at_once:]
            others = [self._helpers.submit(self._run, job) for job in now[1:]]
            outcomes = self._run(now[0])
            for other in others:
                outcomes += other.result()
            _settle(outcomes)
            if jobs and now[0].how == "alone":  # but more wait
                self._side_by_side.want(now[0].waiting[0])
            if jobs and time.perf_counter() > end_s:
                self._flush_is_due = True
                self._loop.call_soon(self._flush)
                break
        return jobs

    def _work(self, job: Job) -> None:
        self._loop.call_soon_threadsafe(self._finish, self._run(job))

    def _finish(self, outcomes: list[Outcome]) -> None:
        self._busy -= 1
        _settle(outcomes)
        self._start()

    def _watch_deadline(self, waiting: Waiting) -> None:
        """Answer at the deadline, whether the run is waiting or under way."""
        if waiting.deadline_s is not None:
            left_s = waiting.deadline_s - time.monotonic()
            outcomes: list[Outcome] = [(waiting, too_late())]
            timer = self._loop.call_later(left_s, _settle, outcomes)
            waiting.answer.add_done_callback(lambda _: timer.cancel())

    def _run(self, job: Job) -> list[Outcome]:
        """Run one job on this thread."""
        try:
            if job.how == "merged" and len(job.waiting) > 1:
                return job.taken_apart(self._paced_run(job.merged_feeds(), job.waiting[0].fetches, job))
            if job.how == "beside" and len(job.waiting) > 1:
                return self._side_by_side.run(job.waiting, self._pace)
        except ServingError:
            pass  # one request may be at fault: each gets its own answer
        return [(waiting, self._run_alone(waiting)) for waiting in job.waiting]

    def _run_alone(self, waiting: Waiting) -> Arrays | BaseException:
        try:
            return self._paced_run(waiting.feeds, waiting.fetches, Job("alone", [waiting]))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the answer
            return error

    def _paced_run(self, feeds: Feeds, fetches: Sequence[Endpoint], job: Job) -> Arrays:
        """Run as the model's pace has it; a large run tells nothing about that, and takes all threads."""
        if are_small(job.waiting):
            timeout_ms = 0 if self._pace.is_quick else job.timeout_ms
            return self._pace.run(self._session, feeds, fetches, timeout_ms=timeout_ms)
        return self._session.run(feeds, fetches, timeout_ms=job.timeout_ms)


def _at_once(jobs: list[Job], at_most: int) -> int:
    """How many of the first jobs are worth running at the same time, each in a thread of its own: 1 where none is."""
    wide = 0
    while wide < min(len(jobs), at_most) and jobs[wide].how == "beside" and jobs[wide].size >= _WIDE:
        wide += 1
    return max(1, wide)


def _settle(outcomes: list[Outcome]) -> None:
    for waiting, outcome in outcomes:
        if waiting.answer.done():
            continue
        if isinstance(outcome, BaseException):
            waiting.answer.set_exception(outcome)
        else:
            waiting.answer.set_result(outcome)
