"""How requests become runs of a graph: merged, side by side or alone, on the event loop or in threads.

Requests that wait together leave together. A quick model runs on the event loop, at the end of the turn in which its
requests came. A slow model runs in threads, and what comes meanwhile waits for the next free one. Rows are merged into
one run only where that is known to change no answer; quick runs that may not be go side by side.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence

from tfsctl.server.execution.jobs import SMALL_ROWS, Job, Outcome, Waiting, are_small, jobs_of, too_late
from tfsctl.server.execution.loop_debouncer import LoopDebouncer
from tfsctl.server.execution.parallel import SideBySide
from tfsctl.server.process import priorities
from tfsctl.server.runtime.run_timing import RunTiming
from tfsctl.server.runtime.session import Arrays, BoundSignature, Endpoint, Feeds, Session
from tfsctl.server.status import ServingError

_LOOP_TURN_S = 0.004  # what quick runs may take of the event loop before others have their turn


class Execution:
    """Runs one session for many requests, all of them on one event loop."""

    def __init__(self, session: Session, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._session = session
        self._loop = loop
        self._waiting: list[Waiting] = []
        self._debouncer = LoopDebouncer(loop, self._together, self._start)
        self._timing = RunTiming()
        self._workers = os.cpu_count() or 1
        self._busy = 0
        self._threads = priorities.low_priority_executor(self._workers, f"run-{name}")
        self._side_by_side = SideBySide(session, name)

    def submit(
        self,
        feeds: Feeds,
        fetches: Sequence[Endpoint],
        *,
        deadline_s: float | None,
        merge_key: object = None,
        is_stack: bool = False,
    ) -> asyncio.Future[Arrays]:
        """The arrays to come from one run. `deadline_s` is a time.monotonic() moment.

        `merge_key` names a signature whose rows do not affect each other: such runs may be merged. A stack is several
        requests (see Waiting), and so is its answer.
        """
        answer: asyncio.Future[Arrays] = self._loop.create_future()
        waiting = Waiting(feeds, fetches, deadline_s, answer, merge_key, is_stack=is_stack)
        self._waiting.append(waiting)
        if not self._timing.is_quick:
            self._watch_deadline(waiting)
        self._debouncer.notify()
        return answer

    def most_together(self, bound: BoundSignature, rows: int, *, may_merge: bool) -> int:
        """How many requests of so many rows for a signature will be one quick run; 1 where each is one by itself."""
        if not self._timing.is_quick:
            return 1
        most = max(1, SMALL_ROWS // rows)
        if may_merge:
            return most
        kind = (*bound.inputs.values(), *bound.fetches)
        return min(most, self._side_by_side.most) if self._side_by_side.may_stack(kind) else 1

    def run_now(self, feeds: Feeds, fetches: Sequence[Endpoint]) -> Arrays:
        """Run on this thread, whatever else waits, and return the fetched arrays."""
        return self._session.run(feeds, fetches)

    def close(self) -> None:
        """End the threads, after their last run."""
        self._side_by_side.close()
        self._threads.shutdown(wait=True)

    def _together(self) -> int:
        """How many wait, if others may run with them, merged or side by side."""
        waiting = self._waiting
        if not waiting or (waiting[0].key is None and not self._side_by_side.is_ready(waiting[0].kind)):
            return 0
        return len(waiting)

    def _start(self) -> None:
        """Start what waits: here and now if it is quick, else as far as threads are free."""
        waiting = self._waiting = [one for one in self._waiting if not one.is_over()]
        if not waiting:
            return
        if self._timing.is_quick and are_small(waiting):
            rest = self._run_here(jobs_of(waiting, self._side_by_side.is_ready, self._side_by_side.most))
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
            job, *jobs = jobs
            _settle(self._run(job))
            if jobs and job.how == "alone":  # but more wait
                self._side_by_side.want(job.waiting[0])
            if jobs and time.perf_counter() > end_s:
                self._debouncer.notify()
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
                return job.taken_apart(self._timed_run(job.merged_feeds(), job.waiting[0].fetches, job))
            if job.how == "beside" and job.size > 1:
                return self._side_by_side.run(job.waiting, self._timing)
        except ServingError:
            pass  # one request may be at fault: each gets its own answer
        return [(waiting, self._run_alone(waiting)) for waiting in job.waiting]

    def _run_alone(self, waiting: Waiting) -> Arrays | BaseException:
        job = Job("alone", [waiting])
        try:
            return waiting.put_together([self._timed_run(feeds, waiting.fetches, job) for feeds in waiting.each()])
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the answer
            return error

    def _timed_run(self, feeds: Feeds, fetches: Sequence[Endpoint], job: Job) -> Arrays:
        """Run as the model's timing has it; a large run tells nothing about that, and takes all threads."""
        if are_small(job.waiting):
            timeout_ms = 0 if self._timing.is_quick else job.timeout_ms
            return self._timing.run(self._session, feeds, fetches, timeout_ms=timeout_ms)
        return self._session.run(feeds, fetches, timeout_ms=job.timeout_ms)


def _settle(outcomes: list[Outcome]) -> None:
    for waiting, outcome in outcomes:
        if waiting.answer.done():
            continue
        if isinstance(outcome, BaseException):
            waiting.answer.set_exception(outcome)
        else:
            waiting.answer.set_result(outcome)
