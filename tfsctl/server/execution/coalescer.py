"""The queue of one model: requests wait here for each other, and for their run.

Requests that arrive within a few iterations of the event loop, or wait while others run, are coalesced into batches.
A quick model runs on the event loop, for a few milliseconds at a time (`loop_runs.py` says which runs may). A slow
model, or a large run, runs in threads; requests wait until a thread is free. Rows are merged into one run only if that is
known to change no answer. Otherwise small requests of a quick model run as parallel calls of the model's function, if it
can have replicas.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

from tfsctl.server.execution.batch import Batch
from tfsctl.server.execution.crashed_runs import CrashedRuns
from tfsctl.server.execution.executor import MergingExecutor, SessionExecutor
from tfsctl.server.execution.fair_queue import FairQueue
from tfsctl.server.execution.loop_debouncer import LoopDebouncer
from tfsctl.server.execution.loop_runs import LoopRuns, key_of_request, sizes_of
from tfsctl.server.execution.pending_run import (
    SMALL_BYTES,
    SMALL_ROWS,
    AloneCodec,
    Deadlines,
    PendingRun,
    deadline_exceeded,
    encode_answers,
    settle_all,
)
from tfsctl.server.execution.queue_limits import QueueLimits, RunRate
from tfsctl.server.execution.replica_executor import ReplicaExecutor
from tfsctl.server.execution.run_threads import RunCrashedError, RunThreads
from tfsctl.server.execution.stacked_run import Stack, StackedRun
from tfsctl.server.process.resources import cpu_count
from tfsctl.server.runtime.run_timing import RunTiming
from tfsctl.server.runtime.session import Arrays, Endpoint, Feeds, Session
from tfsctl.server.status import ServingError

log = logging.getLogger(__name__)

_LOOP_SLICE_S = 0.003  # how long quick runs hold the event loop before other callbacks run
_MAX_MERGED_ROWS = 1024
_MAX_MERGED_BYTES = 2 * 1024 * 1024  # of inputs: a run with 32 images takes more CPU time per image than one with six
_MAX_FORMED = 256  # requests in batches that are not full; a client's next request may have to wait for them
_MAX_RUNS_ALONE = 4  # requests of a failed batch that run one by one on the loop, up to 1 ms each; more do in a thread
_SHORT_QUEUE = 64  # requests that a quick model runs within one or two slices


class RequestCoalescer:
    """Queues the requests for one session, on one event loop, and runs them in batches.

    If `coalesces` is false, each request is run alone.
    """

    accepts_codecs = True
    """Whether requests may be submitted with a Codec."""

    def __init__(
        self,
        session: Session,
        name: str,
        loop: asyncio.AbstractEventLoop,
        limits: QueueLimits,
        crashes: CrashedRuns,
        *,
        coalesces: bool = True,
    ) -> None:
        self._session, self._loop, self._limits, self._crashes = session, loop, limits, crashes
        self._coalesces = self.accepts_codecs = coalesces
        self.queue = FairQueue()
        self._open: dict[object, Batch] = {}  # formed batches that others may join
        self._formed: deque[Batch] = deque()
        self._formed_requests = 0
        self._newest: PendingRun | None = None
        self._debouncer = LoopDebouncer(loop, self._coalescible, self._dispatch)
        self._deadlines = Deadlines(loop, self._expire)
        self._timing, self._loop_runs = RunTiming(), LoopRuns()
        self._alone = SessionExecutor(session, self._timing)
        self._merging = MergingExecutor(self._alone)
        self._replicas = ReplicaExecutor(session, name, self._timing)
        self.workers = cpu_count()
        """The number of threads for runs that would hold the event loop."""
        self.busy = 0
        """How many of them run a batch."""
        self._threads = RunThreads(self.workers, f"run-{name}", low_priority=True)
        self._first_runs = RunThreads(1, f"first-{name}", low_priority=False)  # other requests wait for them
        self._rate = RunRate()

    def submit(self, run: PendingRun) -> None:
        """Run a request at once if it is alone and nothing else is running; otherwise queue it.

        Raises RESOURCE_EXHAUSTED if too many wait already, UNAVAILABLE if such runs crash.
        """
        if self._crashes.refused:
            self._crashes.check(run.feeds)
        waiting = self.queue.length + self._formed_requests
        if run.is_alone and not (waiting or self.busy):
            self._start_alone(run)
            return
        ahead = self._formed_requests + self.queue.ahead_of(run.client) if waiting > _SHORT_QUEUE else 0
        self._limits.admit(run.nbytes, ahead * self._rate.seconds_per_request)
        run.is_waiting = True
        self.queue.push(run)
        if run.deadline_s is not None:
            self._deadlines.watch(run, run.deadline_s)
        self._newest = run
        if not self._debouncer.is_scheduled:
            self._debouncer.notify()

    def answer_at_once(self, codec: AloneCodec, payload: object, nbytes: int) -> object:
        """As RunQueue says. Without a PendingRun, such a request takes a tenth less CPU time over gRPC."""
        if self.busy or self._formed_requests or self.queue.length or self._crashes.refused:
            return None
        return self._loop_runs.answer_known(codec, payload, nbytes, self._session, self._timing)

    def cancel(self, run: PendingRun) -> None:
        """Remove a request that no caller waits for. A run that has begun continues."""
        if run.due is not None:
            run.due.discard(run)
        self._release(run)
        if run.is_queued:
            self.queue.remove(run)
        run.payload = None

    def _expire(self, run: PendingRun) -> None:
        """Answer a request at its deadline, whether it waits or its run has begun."""
        self.cancel(run)
        run.settle(deadline_exceeded())

    def _release(self, run: PendingRun) -> None:
        if run.is_waiting:
            run.is_waiting = False
            self._limits.release(1, run.nbytes)

    def run_now(self, feeds: Feeds, fetches: Sequence[Endpoint]) -> Arrays:
        """Run on this thread, regardless of the queue, and return the fetched arrays."""
        return self._session.run(feeds, fetches)

    @property
    def has_runs(self) -> bool:
        """Whether runs go on in threads."""
        return self.busy > 0

    def close(self) -> bool:
        """End the threads, after their last run. Returns whether all have ended."""
        have_ended = [self._replicas.close(), self._threads.close(), self._first_runs.close()]
        return all(have_ended)

    def _coalescible(self) -> int:
        """How many requests wait, if they may be run together."""
        newest = self._newest
        if newest is None or not self._coalesces:
            return 0
        return self.queue.length if newest.merge_key is not None or self._replicas.is_ready(newest.kind) else 0

    def _next_batch(self) -> Batch | None:
        """The next batch that can be started now; None if nothing waits or no thread is free."""
        is_blocked = self.busy >= self.workers
        if is_blocked and not self._timing.is_quick:
            return None
        formed = self._formed
        while True:
            if self.queue.length:
                self._form_batches()
            if not formed or (is_blocked and not self._may_hold_loop(formed[0])):
                return None
            batch = formed.popleft()
            self._formed_requests -= len(batch.requests)
            if self._open.get(batch.key) is batch:
                del self._open[batch.key]
            self._limits.release(*batch.start())
            if self._crashes.refused:
                batch.refuse_crashing(self._crashes)
            if batch.requests:
                return batch

    def _form_batches(self) -> None:
        """Move requests from the queue into batches, each client in turn, until the first batch is full."""
        queue, formed, opened = self.queue, self._formed, self._open
        while (run := queue.pop()) is not None:
            self._formed_requests += 1
            batch = opened.get(run.key)
            if batch is None or not batch.add(run):
                formed.append(self._new_batch(run))
            first = formed[0]
            if first.is_full or self._formed_requests - len(first.requests) >= _MAX_FORMED:
                return

    def _new_batch(self, run: PendingRun) -> Batch:
        """A batch with one request, which others may join if they can run with it."""
        if run.merge_key is not None and self._coalesces:
            most = _MAX_MERGED_ROWS
            batch = Batch(self._merging, run, run.key, max_requests=most, max_rows=most, max_nbytes=_MAX_MERGED_BYTES)
        elif run.is_small and self._timing.is_quick and self._replicas.is_ready(run.kind):
            most = self._replicas.max_requests
            batch = Batch(self._replicas, run, run.key, max_requests=most, max_rows=SMALL_ROWS, max_nbytes=SMALL_BYTES)
        else:
            return Batch(self._alone, run, None, max_requests=1, max_rows=0, max_nbytes=0)
        self._open[run.key] = batch
        return batch

    def _may_hold_loop(self, run: PendingRun | Batch) -> bool:
        """Whether a run may be on the loop if it is known to be quick."""
        return self._timing.is_quick and run.is_small and self._loop_runs.may_hold(sizes_of(run.fetches), run.nbytes)

    def _dispatch(self) -> None:
        """Start waiting requests: on the loop if they are small and quick, otherwise in free threads."""
        if self._timing.is_quick and self._debouncer.is_scheduled:
            return  # in the next turn of the loop: many runs in threads may end in this one
        end_s = time.monotonic() + _LOOP_SLICE_S
        while (batch := self._next_batch()) is not None:
            result, may_hold_loop = None, self._may_hold_loop(batch)
            if may_hold_loop and self._is_known(batch):
                work = partial(self._run, batch, is_on_loop=True)
                result = self._loop_runs.hold(work, sizes_of(batch.fetches), batch.nbytes)
            if result is None:
                self._start_in_thread(may_hold_loop, batch.requests, self._work, batch)
            else:
                self._finish(batch, result)
                if not (self.queue.length or self._formed):
                    self._newest = None
                    self._rate.pause()
                    return
                self._rate.add(len(batch.requests))
                self._prepare_replicas(batch, result)
            if time.monotonic() > end_s:
                self._debouncer.notify()
                return
        if not self.queue.length:
            self._newest = None  # it refers to its arrays and to its answer
        if self._is_idle:
            self._rate.pause()  # the clients of those that waited have left

    def _start_in_thread(self, is_first: bool, runs: list[PendingRun], work: Callable[..., Any], *args: object) -> None:
        """Run in a thread. The first run of a kind, which the next ones on the loop wait for, has normal priority."""
        self.busy += 1
        threads, loop = self._first_runs if is_first else self._threads, self._loop
        threads.submit(partial(work, *args), lambda name: loop.call_soon_threadsafe(self._finish_crashed, runs, name))

    def _finish_crashed(self, requests: Sequence[PendingRun], signal_name: str) -> None:
        """Answer a request whose run crashed in a thread. Of several, one was at fault: each is run alone."""
        self.busy -= 1
        self._threads.replace_lost()
        self._first_runs.replace_lost()
        first = requests[0]
        self._crashes.add(first.feeds, signal_name)
        self._loop_runs.ban(first.fetches)
        self._rate.pause()
        if len(requests) == 1:
            first.settle(self._crashes.error(first.feeds, signal_name))
        else:
            self._formed.extendleft(
                Batch(self._alone, run, None, max_requests=1, max_rows=0, max_nbytes=0) for run in requests
            )
            self._formed_requests += len(requests)
        self._dispatch()

    def _is_known(self, batch: Batch) -> bool:
        """Whether the run of a batch is known to be quick, or will not take place."""
        try:
            run = batch.stack(is_timed=False)
        except Exception:  # noqa: BLE001 - `_run` handles it
            return True
        return run is None or self._loop_runs.is_known(batch.timing_key)

    def _prepare_replicas(self, batch: Batch, result: Stack | list[Any]) -> None:
        """Make replicas for requests like the one of a batch that succeeded alone while others waited."""
        if self._coalesces and batch.executor is self._alone and isinstance(result, Stack) and batch.stacked:
            self._replicas.prepare(batch.stacked)

    def _work(self, batch: Batch) -> Callable[[], object]:
        """Run a batch in a thread."""
        is_measured = batch.is_small and self._timing.runs_inline
        start_s = time.thread_time()
        result = self._run(batch, is_on_loop=False) or []
        cpu_s = time.thread_time() - start_s if is_measured else None
        return partial(self._loop.call_soon_threadsafe, self._finish_work, batch, result, cpu_s)

    def _finish_work(self, batch: Batch, result: Stack | list[Any], cpu_s: float | None) -> None:
        self.busy -= 1
        if cpu_s is not None and isinstance(result, Stack):
            self._loop_runs.add(batch.timing_key, cpu_s, batch.fetches)
        self._finish(batch, result)
        self._rate.add(len(batch.requests), is_idle=self._is_idle)
        if self._timing.is_quick and batch.is_small and (self.queue.length or self._formed):
            self._prepare_replicas(batch, result)
        self._dispatch()

    def _run(self, batch: Batch, *, is_on_loop: bool) -> Stack | list[Any] | None:
        """Run a batch on this thread: the outputs, or a list of outcomes if requests had to be run alone.

        On the loop, None if many requests have to be run alone.
        """
        try:
            run = batch.stack(is_timed=not is_on_loop)
            if run is None:
                return [None] * len(batch.requests)
            if run.inputs.count > 1 and not batch.has_failed:
                return batch.executor.run(run)
        except RunCrashedError:
            if is_on_loop:
                return None  # the requests are run again in a thread
        except ServingError:
            pass  # one request may be at fault: each is run alone
        except Exception:  # bugs end here: each request is run alone, and gets its own answer
            log.exception("Requests failed together")
        if batch.stacked is None:
            return [None] * len(batch.requests)
        batch.has_failed = True
        if len(batch.requests) > 1:
            if is_on_loop and len(batch.requests) > _MAX_RUNS_ALONE:
                return None
            return [self._run_alone(alone) for alone in batch.stacked.split()]
        outcome = self._run_alone(batch.stacked)
        return outcome if isinstance(outcome, Stack) else [outcome]

    def _run_alone(self, run: StackedRun) -> Stack | Exception:
        try:
            return self._alone.run(run)
        except Exception as error:  # noqa: BLE001 - the error is the answer to this request
            return error

    def _start_alone(self, run: PendingRun) -> None:
        """Run a request that is alone: it is neither queued nor stacked."""
        if run.deadline_s is not None and time.monotonic() > run.deadline_s:
            run.settle(deadline_exceeded())
            return
        key = key_of_request(run)
        may_hold_loop = self._may_hold_loop(run)
        if may_hold_loop and self._loop_runs.is_known(key):
            work = partial(self._outcome_alone, run, run.payload, timeout_ms=0)
            self._answer_alone(run, self._loop_runs.hold(work, sizes_of(run.fetches), run.nbytes))
            return
        if run.deadline_s is not None:
            self._deadlines.watch(run, run.deadline_s)
        self._start_in_thread(may_hold_loop, [run], self._work_alone, run, run.payload, run.timeout_ms, key)

    def _work_alone(self, run: PendingRun, payload: object, timeout_ms: int, key: Hashable) -> Callable[[], object]:
        """Run a request in a thread."""
        is_measured = run.is_small and self._timing.runs_inline
        start_s = time.thread_time()
        outcome = self._outcome_alone(run, payload, timeout_ms=timeout_ms)
        is_answer = outcome is not None and not isinstance(outcome, Exception)
        cpu_s = time.thread_time() - start_s if is_measured and is_answer else None
        return partial(self._loop.call_soon_threadsafe, self._finish_alone, run, outcome, key, cpu_s)

    def _finish_alone(self, run: PendingRun, outcome: object, key: Hashable, cpu_s: float | None) -> None:
        self.busy -= 1
        if cpu_s is not None:
            self._loop_runs.add(key, cpu_s, run.fetches)
        self._answer_alone(run, outcome)
        self._rate.add(1, is_idle=self._is_idle)
        self._dispatch()

    def _outcome_alone(self, run: PendingRun, payload: object, *, timeout_ms: int) -> object:
        """Run a request on this thread: its arrays, or an error; None if the codec cannot convert it."""
        try:
            arrays: Any = payload
            if run.codec is not None:
                stacked = run.codec.decode([payload])
                if stacked is None:
                    return None
                arrays = [array[0] for array in stacked]
            feeds = list(zip(run.feeds, arrays, strict=True))
            if run.is_small:
                return self._timing.run(self._session, feeds, run.fetches, timeout_ms=timeout_ms)
            return self._session.run(feeds, run.fetches, timeout_ms=timeout_ms)
        except Exception as error:  # noqa: BLE001 - the error is the answer to this request
            return error

    def _answer_alone(self, run: PendingRun, outcome: object) -> None:
        if run.codec is None or not isinstance(outcome, list):
            run.settle(outcome)
        else:
            encode_answers([run], run.codec, Stack.of_requests([outcome]))

    def _finish(self, batch: Batch, result: Stack | list[Any]) -> None:
        """Answer the requests of a batch."""
        codec = batch.requests[0].codec
        if isinstance(result, Stack):
            if codec is None:
                settle_all(batch.requests, result.each)
            else:
                encode_answers(batch.requests, codec, result)
            return
        for run, outcome in zip(batch.requests, result, strict=True):
            if isinstance(outcome, Stack) and codec is not None:
                encode_answers([run], codec, outcome)
            else:
                run.settle(outcome.each[0] if isinstance(outcome, Stack) else outcome)

    @property
    def _is_idle(self) -> bool:
        return not (self.busy or self.queue.length or self._formed)
