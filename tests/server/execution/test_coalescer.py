"""The coalescer: which requests share a run, how many are accepted, and what happens to cancelled ones."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tfsctl.core import dtypes
from tfsctl.server.execution import coalescer
from tfsctl.server.execution.coalescer import RequestCoalescer
from tfsctl.server.execution.crashed_runs import CrashedRuns
from tfsctl.server.execution.loop_debouncer import LoopDebouncer
from tfsctl.server.execution.pending_run import PendingRun
from tfsctl.server.execution.queue_limits import QueueLimits
from tfsctl.server.execution.stacked_run import Stack
from tfsctl.server.monitoring.recorder import NullRecorder
from tfsctl.server.runtime import capi
from tfsctl.server.runtime.session import Arrays, Endpoint, Feeds
from tfsctl.server.runtime.size_analysis import Sizes
from tfsctl.server.status import Code, ServingError

X, Y = (Endpoint(name, f"{name}:0", dtypes.FLOAT, capi.Output(None, 0), Sizes.SHAPES) for name in "xy")
ENOUGH_TO_BE_MEASURED = 10
MANY = 128  # requests, as many as may go on at once


class DoublingSession:
    """Doubles its input, and records the rows of each run. Runs wait while `gate` is closed."""

    graph_bytes = 2**30  # too large for replicas

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def run(self, feeds: Feeds, _fetches: Sequence[Endpoint], **_options: Any) -> Arrays:
        """The output of a run. A negative value fails."""
        ((_, array),) = feeds
        self.gate.wait(60)
        self.runs.append(len(array))
        if (array < 0).any():
            raise ServingError(Code.INVALID_ARGUMENT, "negative")
        return [array * 2]


class Doubler:
    """A codec of single numbers. Refuses to convert a zero together with others."""

    feeds, fetches = (X,), (Y,)
    timing_key = "doubling"

    def decode(self, payloads: Sequence[float]) -> Arrays | None:
        """One row for each number."""
        return None if 0 in payloads else [np.array([[number] for number in payloads], np.float32)]

    def encode(self, outputs: Stack) -> list[str]:
        """The numbers as text."""
        arrays = outputs.arrays
        assert arrays is not None
        return [str(number) for number in arrays[0][:, 0].tolist()]


class BytesDoubler(Doubler):
    """A codec of numbers as bytes, which can also answer one of them alone."""

    def decode(self, payloads: Sequence[Any]) -> Arrays | None:
        """One row for each number."""
        return super().decode([float(payload) for payload in payloads])

    def answer_alone(self, session: Any, payload: bytes) -> object:
        """Run one request."""
        (array,) = session.run([(X, np.array([float(payload)], np.float32))], (Y,))
        return str(array.item())


class Harness:
    """A coalescer over a DoublingSession, and requests to it."""

    def __init__(self, **limits: Any) -> None:
        self.session = DoublingSession()
        self.limits = QueueLimits(NullRecorder(), **limits)
        crashes = CrashedRuns("m", 1, self.session, NullRecorder())  # type: ignore[arg-type]
        self.coalescer = RequestCoalescer(self.session, "m", asyncio.get_running_loop(), self.limits, crashes)  # type: ignore[arg-type]

    def submit(
        self,
        *values: float,
        may_merge: bool = True,
        deadline_s: float | None = None,
        client: object = None,
        is_alone: bool = False,
    ) -> PendingRun:
        """Queue a request."""
        array = np.array(values, np.float32)
        return self.submit_array(array, may_merge=may_merge, deadline_s=deadline_s, client=client, is_alone=is_alone)

    def submit_array(
        self,
        array: np.ndarray,
        *,
        may_merge: bool = True,
        deadline_s: float | None = None,
        client: object = None,
        is_alone: bool = False,
    ) -> PendingRun:
        """Queue a request with this input."""
        run = PendingRun.of_feeds([(X, array)], (Y,), may_merge=may_merge, deadline_s=deadline_s)
        run.client, run.is_alone = client, is_alone
        run.answer = asyncio.get_running_loop().create_future()
        self.coalescer.submit(run)
        return run

    def submit_number(self, number: float, codec: Doubler, *, is_alone: bool = False) -> PendingRun:
        """Queue a request with a codec."""
        run = PendingRun.of_payload(number, codec, rows=1, nbytes=8, may_merge=True, deadline_s=None)
        run.is_alone = is_alone
        run.answer = asyncio.get_running_loop().create_future()
        self.coalescer.submit(run)
        return run

    async def make_quick(self) -> None:
        """Run until the model is known to be quick."""
        for _ in range(ENOUGH_TO_BE_MEASURED):
            await self.submit(1.0).answer
        self.session.runs.clear()

    async def occupy_threads(self) -> list[PendingRun]:
        """Make every worker thread wait in a run."""
        self.session.gate.clear()
        runs = [self.submit(1.0, may_merge=False) for _ in range(self.coalescer.workers)]
        while self.coalescer.busy < self.coalescer.workers:  # noqa: ASYNC110 - nothing signals this
            await asyncio.sleep(0)
        return runs


def with_harness(work: Callable[[Harness], Awaitable[None]], **limits: Any) -> None:
    """Run a test on its own event loop."""

    async def run() -> None:
        harness = Harness(**limits)
        try:
            await work(harness)
        finally:
            harness.session.gate.set()
            await asyncio.to_thread(harness.coalescer.close)

    asyncio.run(run())


def test_the_size_of_a_request_includes_the_contents_of_strings() -> None:
    """So a request with a large string neither runs on the event loop nor bypasses the limits of the queue."""
    strings = np.array([b"x" * 1000, b"y"], object)
    one = PendingRun.of_feeds([(X, strings)], (Y,), may_merge=False)
    two = PendingRun.of_feeds([(X, strings), (Y, np.zeros(4, np.float32))], (Y,), may_merge=False)

    assert one.nbytes == 1001 + strings.nbytes
    assert PendingRun.of_feeds([(X, strings[:1])], (Y,), may_merge=False).nbytes == 1000 + strings[:1].nbytes
    assert two.nbytes == one.nbytes + 16


def test_rows_are_merged_and_returned_to_their_requests() -> None:
    async def work(harness: Harness) -> None:
        await harness.make_quick()
        runs = [harness.submit(*range(1, rows + 1)) for rows in (1, 2, 3)]
        answers = [await run.answer for run in runs]
        assert [arrays[0].tolist() for arrays in answers] == [[2], [2, 4], [2, 4, 6]]
        assert harness.session.runs == [6]

    with_harness(work)


def test_large_rows_are_merged_up_to_two_mib() -> None:
    """A row that is larger than that runs alone."""

    async def work(harness: Harness) -> None:
        blockers = await harness.occupy_threads()
        runs = [harness.submit_array(np.full((1, 100_000), number, np.float32)) for number in range(12)]
        runs += [harness.submit_array(np.zeros((1, 600_000), np.float32)) for _ in range(2)]
        harness.session.gate.set()
        answers = [await run.answer for run in runs]
        assert [arrays[0][0, 0] for arrays in answers[:12]] == [2 * number for number in range(12)]
        assert sorted(harness.session.runs) == [*[1] * len(blockers), 1, 1, 2, 5, 5]

    with_harness(work)


def test_rows_that_may_not_be_merged_run_alone() -> None:
    async def work(harness: Harness) -> None:
        await harness.make_quick()
        runs = [harness.submit(number, may_merge=False) for number in (1, 2, 3)]
        assert [(await run.answer)[0].tolist() for run in runs] == [[2], [4], [6]]
        assert harness.session.runs == [1, 1, 1]

    with_harness(work)


def test_a_failing_request_fails_alone() -> None:
    """The merged run fails; then each request is run alone."""

    async def work(harness: Harness) -> None:
        await harness.make_quick()
        runs = [harness.submit(number) for number in (1, -1, 3)]
        answers = await asyncio.gather(*[run.answer for run in runs], return_exceptions=True)
        assert [answers[index][0].tolist() for index in (0, 2)] == [[2], [6]]  # type: ignore[index]
        assert isinstance(answers[1], ServingError)
        assert answers[1].message == "negative"

    with_harness(work)


def test_a_failed_batch_is_not_run_again() -> None:
    """It has failed on the event loop. Its requests, which are too many for it, are run one by one in a thread."""

    async def work(harness: Harness) -> None:
        await harness.make_quick()
        await asyncio.gather(*[run.answer for run in [harness.submit(number) for number in range(6)]])
        harness.session.runs.clear()
        runs = [harness.submit(number) for number in (1, -1, 3, 4, 5, 6)]
        answers = await asyncio.gather(*[run.answer for run in runs], return_exceptions=True)
        assert [isinstance(answer, ServingError) for answer in answers] == [False, True, *[False] * 4]
        assert harness.session.runs == [6, 1, 1, 1, 1, 1, 1]

    with_harness(work)


def test_a_large_batch_goes_on_in_parts() -> None:
    """Requests that get their answers in one iteration of the event loop all go on in the next one."""

    async def work(harness: Harness) -> None:
        await harness.make_quick()
        runs = [harness.submit(number) for number in range(5 * MANY)]
        newly_done, before = [], 0
        while before < len(runs):
            await asyncio.sleep(0)
            done = sum(run.answer.done() for run in runs)
            newly_done.append(done - before)
            before = done
        assert max(newly_done) <= MANY
        assert [(await run.answer)[0].tolist() for run in runs] == [[2 * number] for number in range(5 * MANY)]

    with_harness(work, max_requests=10 * MANY)


def test_payloads_are_converted_together() -> None:
    async def work(harness: Harness) -> None:
        await harness.make_quick()
        codec = Doubler()
        runs = [harness.submit_number(number, codec) for number in (1, 2, 3)]
        assert [await run.answer for run in runs] == ["2.0", "4.0", "6.0"]
        assert harness.session.runs == [3]

    with_harness(work)


def test_payloads_that_cannot_be_converted_together_are_returned() -> None:
    """The answer is None: the caller converts each of them alone."""

    async def work(harness: Harness) -> None:
        await harness.make_quick()
        codec = Doubler()
        runs = [harness.submit_number(number, codec) for number in (1, 0, 3)]
        assert [await run.answer for run in runs] == [None] * 3
        assert harness.session.runs == []

    with_harness(work)


def test_a_failing_payload_fails_alone() -> None:
    async def work(harness: Harness) -> None:
        await harness.make_quick()
        codec = Doubler()
        runs = [harness.submit_number(number, codec) for number in (1, -1)]
        answers = await asyncio.gather(*[run.answer for run in runs], return_exceptions=True)
        assert answers[0] == "2.0"
        assert isinstance(answers[1], ServingError)

    with_harness(work)


@pytest.mark.parametrize("is_quick", [True, False])
def test_answered_requests_are_forgotten(*, is_quick: bool) -> None:
    """The tensors of the last request do not stay in memory until the next one."""

    async def work(harness: Harness) -> None:
        if is_quick:
            await harness.make_quick()
        run = harness.submit(1.0, 2.0)
        payload = weakref.ref(run.payload[0])
        await run.answer
        await asyncio.sleep(0)
        del run

        assert await _is_gone(payload)

    with_harness(work)


async def _is_gone(reference: weakref.ref[Any]) -> bool:
    """Whether what is referred to is freed soon: a thread may be about to forget it."""
    for _ in range(1000):
        if reference() is None:
            return True
        await asyncio.sleep(0.01)
    return False


def test_a_full_queue_refuses_requests() -> None:
    async def work(harness: Harness) -> None:
        running = await harness.occupy_threads()
        waiting = [harness.submit(1.0, may_merge=False) for _ in range(harness.limits.max_requests)]
        with pytest.raises(ServingError, match="5 requests are waiting") as refused:
            harness.submit(1.0)
        assert refused.value.code is Code.RESOURCE_EXHAUSTED
        assert refused.value.retry_after_s is not None
        assert refused.value.retry_after_s >= 1
        assert harness.limits.rejected == 1
        harness.session.gate.set()
        await asyncio.gather(*[run.answer for run in (*running, *waiting)])
        assert (harness.limits.requests, harness.limits.nbytes) == (0, 0)

    with_harness(work, max_requests=5)


def test_a_queue_that_holds_too_many_bytes_refuses_requests() -> None:
    async def work(harness: Harness) -> None:
        await harness.occupy_threads()
        first = harness.submit(*[1.0] * 100, may_merge=False)
        with pytest.raises(ServingError, match="hold 400 bytes"):
            harness.submit(*[1.0] * 100, may_merge=False)
        harness.session.gate.set()
        await first.answer

    with_harness(work, max_requests=100, max_bytes=500)


def test_a_queue_of_one_client_does_not_refuse_another() -> None:
    """The expected wait is that of the client: another one is served after a single request."""

    async def work(harness: Harness) -> None:
        running = await harness.occupy_threads()
        vars(harness.coalescer)["_rate"].seconds_per_request = 1.0
        waiting = [harness.submit(1.0, may_merge=False, client="a") for _ in range(65)]
        with pytest.raises(ServingError, match="would wait for 65 s"):
            harness.submit(1.0, may_merge=False, client="a")
        waiting.append(harness.submit(1.0, may_merge=False, client="b"))
        harness.session.gate.set()
        await asyncio.gather(*[run.answer for run in (*running, *waiting)])

    with_harness(work, max_wait_s=30.0)


def test_a_cancelled_burst_leaves_nothing_behind() -> None:
    """20,000 requests are removed at a constant cost each, and none of them runs."""

    async def work(harness: Harness) -> None:
        running = await harness.occupy_threads()
        other = harness.submit(7.0, may_merge=False, client="other")
        burst = [harness.submit(1.0, may_merge=False, client="burst") for _ in range(20_000)]
        before = harness.coalescer.queue.operations
        for run in burst:
            run.answer.cancel()
            harness.coalescer.cancel(run)
        assert harness.coalescer.queue.operations - before < 2 * len(burst)
        assert harness.coalescer.queue.length <= 1
        assert harness.limits.requests <= 1
        assert all(run.payload is None for run in burst)
        harness.session.gate.set()
        assert (await other.answer)[0].tolist() == [14]
        await asyncio.gather(*[run.answer for run in running])
        assert len(harness.session.runs) == len(running) + 1

    with_harness(work, max_requests=30_000)


def test_clients_are_served_in_turn() -> None:
    """A request waits for one request of every other client, not for all of them."""

    async def work(harness: Harness) -> None:
        running = await harness.occupy_threads()
        order: list[str] = []

        def note(client: str) -> Callable[[object], None]:
            return lambda _: order.append(client)

        runs = [harness.submit(1.0, may_merge=False, client="a") for _ in range(200)]
        runs.append(harness.submit(1.0, may_merge=False, client="b"))
        for run in runs:
            run.answer.add_done_callback(note(str(run.client)))
        harness.session.gate.set()
        await asyncio.gather(*[run.answer for run in (*running, *runs)])
        assert order.index("b") < 20

    with_harness(work)


def test_the_work_for_each_request_does_not_grow_with_the_queue() -> None:
    async def work(harness: Harness) -> None:
        await harness.make_quick()
        queue = harness.coalescer.queue
        costs = []
        for count in (32, 4000):
            before = queue.operations
            await asyncio.gather(*[harness.submit(1.0, may_merge=False).answer for _ in range(count)])
            costs.append((queue.operations - before) / count)
        assert costs[1] <= costs[0] * 1.1

    with_harness(work)


def test_a_request_whose_deadline_passes_in_the_queue_never_runs() -> None:
    """It is answered at its deadline."""

    async def work(harness: Harness) -> None:
        running = await harness.occupy_threads()
        late = harness.submit(7.0, may_merge=False, deadline_s=time.monotonic() + 0.01)
        with pytest.raises(ServingError) as error:
            await late.answer
        assert error.value.code is Code.DEADLINE_EXCEEDED
        assert harness.limits.requests == 0
        harness.session.gate.set()
        await asyncio.gather(*[run.answer for run in running])
        assert len(harness.session.runs) == len(running)

    with_harness(work)


def test_many_requests_with_one_deadline_are_answered_at_it() -> None:
    """A few in each iteration of the event loop."""

    async def work(harness: Harness) -> None:
        running = await harness.occupy_threads()
        deadline_s = time.monotonic() + 0.01
        late = [harness.submit(7.0, may_merge=False, deadline_s=deadline_s) for _ in range(300)]
        errors = await asyncio.gather(*[run.answer for run in late], return_exceptions=True)
        assert {error.code for error in errors if isinstance(error, ServingError)} == {Code.DEADLINE_EXCEEDED}
        harness.session.gate.set()
        await asyncio.gather(*[run.answer for run in running])
        assert len(harness.session.runs) == len(running)

    with_harness(work)


def test_a_request_that_was_answered_is_not_kept_until_its_deadline() -> None:
    async def work(harness: Harness) -> None:
        run = harness.submit(1.0, deadline_s=time.monotonic() + 1000)
        array = weakref.ref(run.payload[0])
        await run.answer
        cancelled = harness.submit(1.0, deadline_s=time.monotonic() + 1000)
        cancelled_array = weakref.ref(cancelled.payload[0])
        harness.coalescer.cancel(cancelled)
        del run, cancelled
        await asyncio.to_thread(harness.coalescer.close)  # its threads refer to their last work
        assert array() is None
        assert cancelled_array() is None

    with_harness(work)


def test_deadlines_that_come_later_and_earlier_are_kept() -> None:
    """One timer waits for all of them, also for those after a request that was answered at once."""

    async def work(harness: Harness) -> None:
        await harness.submit(1.0, deadline_s=time.monotonic() + 1000).answer
        running = await harness.occupy_threads()
        now_s = time.monotonic()
        late = [harness.submit(7.0, may_merge=False, deadline_s=now_s + after_s) for after_s in (0.1, 0.02, 0.2)]
        errors = await asyncio.gather(*[run.answer for run in late], return_exceptions=True)
        assert {error.code for error in errors if isinstance(error, ServingError)} == {Code.DEADLINE_EXCEEDED}
        assert time.monotonic() >= now_s + 0.2
        harness.session.gate.set()
        await asyncio.gather(*[run.answer for run in running])

    with_harness(work)


def test_runs_in_threads_that_end_together_start_no_more_than_one_slice_of_runs() -> None:
    """The first runs of a kind are in threads, and dozens may end in one turn of the loop."""

    async def work(harness: Harness) -> None:
        await harness.make_quick()
        waiting = harness.submit(2.0)  # it is due in one of the next turns
        harness.coalescer._dispatch()
        assert harness.session.runs == []
        ((answer,),) = await waiting.answer
        assert answer == 4.0

    with_harness(work)


def test_requests_that_were_answered_leave_nothing_behind_whatever_their_deadlines_were() -> None:
    """Clients choose them, years ahead if they like; one that waits for its deadline does not keep the others."""

    async def work(harness: Harness) -> None:
        running = await harness.occupy_threads()
        waiting = harness.submit(1.0, may_merge=False, deadline_s=time.monotonic() + 1000)
        before = len(gc.get_objects())
        for day in range(1000):
            harness.coalescer.cancel(harness.submit(1.0, deadline_s=time.monotonic() + 86_400 * day + 2000))
        gc.collect()
        assert len(gc.get_objects()) - before < 500
        harness.session.gate.set()
        await asyncio.gather(*[run.answer for run in [*running, waiting]])

    with_harness(work)


def test_a_version_that_is_unloaded_is_not_kept_until_the_deadlines_of_its_requests() -> None:
    async def work(_harness: Harness) -> None:
        unloaded = Harness()
        for seconds in range(10):
            await unloaded.submit(1.0, deadline_s=time.monotonic() + 1000 + seconds).answer
        unloaded.coalescer.close()  # in this thread: another one keeps the method for a moment after it has returned
        coalescer = weakref.ref(unloaded.coalescer)
        del unloaded
        gc.collect()
        assert coalescer() is None

    with_harness(work)


def test_a_request_whose_deadline_has_passed_is_refused() -> None:
    async def work(harness: Harness) -> None:
        await harness.make_quick()
        with pytest.raises(ServingError):
            await harness.submit(1.0, deadline_s=time.monotonic() - 1).answer
        assert harness.session.runs == []

    with_harness(work)


def test_a_request_that_is_alone_is_run_at_once() -> None:
    """By a quick model, within the call. An error, and a payload that cannot be converted, are answered at once too."""

    async def work(harness: Harness) -> None:
        await harness.make_quick()
        codec = Doubler()
        await harness.submit(3.0, is_alone=True).answer
        await harness.submit_number(4.0, codec, is_alone=True).answer  # such runs are known now
        harness.session.runs.clear()
        moved = harness.coalescer.queue.operations
        assert harness.submit(3.0, is_alone=True).answer.result()[0].tolist() == [6]
        assert harness.submit_number(4.0, Doubler(), is_alone=True).answer.result() == "8.0"
        assert harness.submit_number(0, codec, is_alone=True).answer.result() is None
        assert harness.submit(-1.0, is_alone=True).answer.exception() is not None
        late = harness.submit(1.0, is_alone=True, deadline_s=time.monotonic() - 1)
        assert late.answer.exception() is not None
        assert harness.session.runs == [1, 1, 1]
        assert harness.coalescer.queue.operations == moved
        assert harness.limits.requests == 0

    with_harness(work)


def test_a_request_may_be_answered_at_once_if_nothing_waits() -> None:
    """By a quick model, if such runs are known to be quick. Otherwise it has to be submitted. An error is its answer."""

    async def work(harness: Harness) -> None:
        codec, answer = BytesDoubler(), harness.coalescer.answer_at_once
        number = PendingRun.of_payload(b"4", codec, rows=1, nbytes=1, may_merge=True, deadline_s=None)
        assert answer(codec, b"4", 1) is None
        await harness.make_quick()
        assert answer(codec, b"4", 1) is None
        number.is_alone, number.answer = True, asyncio.get_running_loop().create_future()
        harness.coalescer.submit(number)
        assert await number.answer == "8.0"
        harness.session.runs.clear()
        assert answer(codec, b"4", 1) == "8.0"
        assert answer(codec, b"44", 2) is None  # more bytes
        waiting = harness.submit(1.0)
        assert answer(codec, b"4", 1) is None
        await waiting.answer
        harness.coalescer._crashes.refused.add((X,))
        assert answer(codec, b"4", 1) is None
        harness.coalescer._crashes.refused.clear()
        assert harness.session.runs == [1, 1]
        harness.session.gate.clear()
        busy = await harness.occupy_threads()
        assert answer(codec, b"4", 1) is None
        harness.session.gate.set()
        await asyncio.gather(*[run.answer for run in busy])

    with_harness(work)


def test_an_error_is_the_answer_of_a_request_that_is_answered_at_once() -> None:
    async def work(harness: Harness) -> None:
        await harness.make_quick()
        codec = BytesDoubler()
        number = PendingRun.of_payload(b"4", codec, rows=1, nbytes=2, may_merge=True, deadline_s=None)
        number.is_alone, number.answer = True, asyncio.get_running_loop().create_future()
        harness.coalescer.submit(number)
        await number.answer
        assert isinstance(harness.coalescer.answer_at_once(codec, b"-4", 2), ServingError)

    with_harness(work)


def test_a_request_that_is_alone_runs_after_queued_ones() -> None:
    """And in one run with them if their rows are merged."""

    async def work(harness: Harness) -> None:
        await harness.make_quick()
        runs = [harness.submit(float(number), is_alone=number == 2) for number in range(3)]
        assert not any(run.answer.done() for run in runs)
        await asyncio.gather(*[run.answer for run in runs])
        assert harness.session.runs == [3]

    with_harness(work)


def test_a_slow_model_runs_a_request_that_is_alone_in_a_thread() -> None:
    """Requests that arrive meanwhile wait for it or for another thread; its deadline is kept."""

    async def work(harness: Harness) -> None:
        harness.session.gate.clear()
        first = harness.submit(1.0, is_alone=True, deadline_s=time.monotonic() + 0.5)
        assert harness.coalescer.busy == 1
        second = harness.submit(2.0, is_alone=True)
        assert harness.coalescer.busy == 1
        with pytest.raises(ServingError) as error:
            await first.answer
        assert error.value.code is Code.DEADLINE_EXCEEDED
        harness.session.gate.set()
        assert (await second.answer)[0].tolist() == [4]

    with_harness(work)


@pytest.mark.parametrize(("iterations", "most"), [(1, 1), (2, 2), (20, 5)])
def test_debouncing_waits_while_more_arrives(iterations: int, most: int) -> None:
    """Work begins when an iteration of the loop brings no new request, and after three iterations at most."""

    async def run() -> int:
        waiting: list[int] = []
        seen: list[int] = []
        done = asyncio.Event()

        def work() -> None:
            seen.append(len(waiting))
            done.set()

        debouncer = LoopDebouncer(asyncio.get_running_loop(), lambda: len(waiting), work)
        for iteration in range(iterations):
            waiting.append(iteration)
            debouncer.notify()
            await asyncio.sleep(0)
        await done.wait()
        return seen[0]

    assert 1 <= asyncio.run(run()) <= most


def test_the_time_after_the_waiting_clients_have_left_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the first requests of the next clients would be refused: they seem to have to wait for that long each."""
    monkeypatch.setattr(coalescer, "_LOOP_SLICE_S", 0.0)  # one run in each iteration

    async def work(harness: Harness) -> None:
        await harness.make_quick()
        await harness.submit(1.0, may_merge=False).answer  # in a thread; the next ones run on the loop
        runs = [harness.submit(float(number), may_merge=False) for number in range(1, 4)]
        await runs[0].answer
        rate = vars(harness.coalescer)["_rate"]
        assert vars(rate)["_last_s"] is not None
        for run in runs[1:]:
            assert not run.answer.done()
            run.answer.cancel()
            harness.coalescer.cancel(run)
        while vars(harness.coalescer)["_debouncer"].is_scheduled:  # noqa: ASYNC110 - nothing signals this
            await asyncio.sleep(0)
        assert vars(rate)["_last_s"] is None

    with_harness(work)
