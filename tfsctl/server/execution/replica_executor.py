"""Runs small requests of a quick model as parallel calls in one run, and makes the replicas for that in the background."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import wait
from functools import partial
from typing import TypeVar

from tfsctl.server.execution.replica_graph import NoReplicasError
from tfsctl.server.execution.replicas import WIDTHS, Replicas
from tfsctl.server.execution.run_threads import RunThreads
from tfsctl.server.execution.stacked_run import Stack, StackedRun
from tfsctl.server.process.resources import cpu_count
from tfsctl.server.runtime.run_timing import RunTiming
from tfsctl.server.runtime.session import Arrays, Session
from tfsctl.server.status import ServingError

log = logging.getLogger(__name__)

_Share = TypeVar("_Share")
_Outputs = TypeVar("_Outputs")
_MAX_KINDS = 8  # clients may fetch ever new combinations of outputs
_MIN_REQUESTS_PER_THREAD = 8  # waking a thread takes longer than running fewer
_GAIN = 0.75  # helpers gain if a run takes less than this part of the time that one thread would need
_GAIN_WEIGHT = 0.1  # of the newest run in the moving average
_RUNS_UNTIL_RETRIED = 200  # without helpers


class HelperGain:
    """Whether helpers shorten runs at the moment.

    They make runs longer if other work keeps the CPUs busy, because the caller waits until the helpers get a CPU. Short
    runs are longer with helpers, too: 32 requests of a small text model took 4.7 us each in one thread, 5.9 us in two.
    """

    def __init__(self) -> None:
        self._gaining = 1.0  # moving average of the recent runs with helpers: 1 if one was shorter, else 0
        self._runs_without = 0

    def is_expected(self) -> bool:
        """Whether the next run should use helpers: if at least half of the recent ones gained, and sometimes to retry."""
        if self._gaining >= 0.5:
            return True
        self._runs_without += 1
        if self._runs_without < _RUNS_UNTIL_RETRIED:
            return False
        self._runs_without, self._gaining = 0, 0.5
        return True

    def add(self, wall_s: float, share_cpu_s: float, threads: int) -> None:
        """Record a run with helpers: how long it took, and the CPU time of one of its equal shares."""
        has_gained = wall_s < _GAIN * share_cpu_s * threads
        self._gaining += (has_gained - self._gaining) * _GAIN_WEIGHT


class ReplicaExecutor:
    """Runs requests as parallel calls of the model's function, shared with helper threads while that makes runs shorter.

    Replicas are kept by what runs feed and fetch. They are made in a thread of normal priority: making them takes half a
    second of CPU, and a low-priority thread would take many seconds while requests keep the CPU busy. The calling
    thread waits for the helpers while it runs its own share inside TensorFlow, so that none of them waits for the GIL.
    """

    def __init__(self, session: Session, name: str, timing: RunTiming) -> None:
        self._session, self._timing = session, timing
        self._maker = RunThreads(1, f"replicas-{name}", low_priority=False)
        self._workers = cpu_count()
        self._helpers = RunThreads(self._workers, f"help-{name}", low_priority=False)
        self._gain = HelperGain()
        self.max_requests = WIDTHS[-1] * self._workers
        """How many requests are worth running at once."""
        self._replicas: dict[Hashable, Replicas] = {}
        self._tried: set[Hashable] = set()
        self._is_closed = False

    def is_ready(self, kind: Hashable) -> bool:
        """Whether there are replicas for requests with these feeds and fetches."""
        return kind in self._replicas

    def run(self, run: StackedRun) -> Stack:
        """Run requests for which `is_ready`, on this thread and helpers. Raises ServingError if one of them fails."""
        replicas = self._replicas[run.kind]
        if replicas.may_pack and (arrays := run.inputs.arrays) is not None:
            try:
                return self._run_packed(replicas, arrays)
            except ServingError:
                outputs = self._run_each(replicas, run)
                replicas.may_pack = False  # there was nothing wrong with the requests: their outputs differ in shape
                return outputs
        return self._run_each(replicas, run)

    def _run_packed(self, replicas: Replicas, arrays: Arrays) -> Stack:
        shares = [[array[share] for array in arrays] for share in self._shares(len(arrays[0]))]
        return Stack.of_parts(self._run_shares(replicas.run_packed, shares, len(shares[0][0])))

    def _run_each(self, replicas: Replicas, run: StackedRun) -> Stack:
        requests = run.request_feeds()
        shares = [requests[share] for share in self._shares(len(requests))]
        parts = self._run_shares(replicas.run, shares, len(shares[0]))
        return Stack.of_requests([arrays for part in parts for arrays in part])

    def _shares(self, count: int) -> list[slice]:
        """How to divide that number of requests between as many threads as are worth it."""
        threads = max(1, min(self._workers, count // _MIN_REQUESTS_PER_THREAD))
        if threads > 1 and not self._gain.is_expected():
            threads = 1
        return [slice(count * index // threads, count * (index + 1) // threads) for index in range(threads)]

    def _run_shares(self, run: Callable[[_Share], _Outputs], shares: Sequence[_Share], requests: int) -> list[_Outputs]:
        """Run the first share, which has `requests` requests, in this thread and measure it; the others in helpers."""
        own = partial(self._timing.run_inline, partial(run, shares[0]), requests)
        if len(shares) == 1:
            return [own()]
        start_s = time.perf_counter()
        others = [self._helpers.call(run, share) for share in shares[1:]]
        try:
            start_cpu_s = time.thread_time()
            first = own()
            own_cpu_s = time.thread_time() - start_cpu_s
        finally:
            wait(others)  # nothing may still run when this returns
        self._gain.add(time.perf_counter() - start_s, own_cpu_s, len(shares))
        return [first, *(other.result() for other in others)]

    def prepare(self, example: StackedRun) -> None:
        """Make replicas in the background for requests like this one, unless that was tried before."""
        kind = example.kind
        if kind not in self._tried and len(self._tried) < _MAX_KINDS:
            self._tried.add(kind)
            self._maker.call(self._make, kind, example)

    def close(self) -> bool:
        """Make no more replicas. Nothing may be run any more. Returns whether all threads have ended."""
        self._is_closed = True
        have_ended = [self._helpers.close(), self._maker.close()]
        return all(have_ended)

    def _make(self, kind: Hashable, example: StackedRun) -> None:
        """Make replicas, the narrowest runs first, and let requests use them as soon as one width is ready."""
        try:
            replicas = Replicas(self._session, example.feeds, example.fetches)
            for width in WIDTHS:
                if self._is_closed:
                    return
                replicas.make_ready(width, example.request_feeds()[0])
                self._replicas[kind] = replicas
        except NoReplicasError:
            pass
        except ServingError as error:
            log.warning("Requests cannot be run as parallel calls: %s", error.message)
        except Exception:  # bugs end here: requests are run one by one
            log.exception("Requests cannot be run as parallel calls")
