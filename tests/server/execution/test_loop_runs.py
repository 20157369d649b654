"""Which runs hold the event loop: those of a quick model with inputs like those of earlier runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tfsctl.core import dtypes
from tfsctl.server.batching.batching_session import BatchingSession
from tfsctl.server.batching.parameters import BatchingParameters
from tfsctl.server.batching.scheduler import BatchScheduler
from tfsctl.server.execution import loop_runs
from tfsctl.server.execution.coalescer import RequestCoalescer
from tfsctl.server.execution.crashed_runs import CrashedRuns
from tfsctl.server.execution.loop_runs import LoopRuns
from tfsctl.server.execution.pending_run import PendingRun
from tfsctl.server.execution.queue_limits import QueueLimits
from tfsctl.server.monitoring.recorder import NullRecorder
from tfsctl.server.runtime import capi
from tfsctl.server.runtime.session import Arrays, Endpoint, Feeds
from tfsctl.server.runtime.size_analysis import Sizes
from tfsctl.server.status import Code, ServingError

X = Endpoint("x", "x:0", dtypes.FLOAT, capi.Output(None, 0))
ENOUGH_TO_BE_MEASURED = 20


def output(sizes: Sizes) -> tuple[Endpoint]:
    """What a run fetches."""
    return (Endpoint("y", "y:0", dtypes.FLOAT, capi.Output(None, 0), sizes),)


class RecordingSession:
    """Answers with its input, and records whether each run held the loop. A run with a negative value fails."""

    graph_bytes = 2**30  # too large for replicas

    def __init__(self) -> None:
        self.held: list[bool] = []

    def run(self, feeds: Feeds, _fetches: Sequence[Endpoint], **_options: Any) -> Arrays:
        """The output of a run."""
        ((_, array),) = feeds
        self.held.append(threading.current_thread() is threading.main_thread())
        if not array.dtype.hasobject and (array < 0).any():
            raise ServingError(Code.INVALID_ARGUMENT, "negative")
        return [array]


class Model:
    """A quick model behind a RequestCoalescer, or behind TensorFlow Serving's batching."""

    def __init__(self, sizes: Sizes = Sizes.SHAPES, *, is_batching: bool = False) -> None:
        self.session = session = RecordingSession()
        self.fetches = output(sizes)
        loop, limits = asyncio.get_running_loop(), QueueLimits(NullRecorder())
        crashes = CrashedRuns("m", 1, session, NullRecorder())  # type: ignore[arg-type]
        self.queue: RequestCoalescer | BatchingSession
        if is_batching:
            parameters = BatchingParameters()
            scheduler = BatchScheduler(parameters, loop)
            self.queue = BatchingSession(session, parameters, scheduler, NullRecorder(), crashes)  # type: ignore[arg-type]
        else:
            self.queue = RequestCoalescer(session, "m", loop, limits, crashes)  # type: ignore[arg-type]

    def submit(self, array: np.ndarray, *, is_alone: bool = False, may_merge: bool = False) -> PendingRun:
        """A request."""
        run = PendingRun.of_feeds([(X, array)], self.fetches, may_merge=may_merge)
        run.is_alone = is_alone
        run.answer = asyncio.get_running_loop().create_future()
        self.queue.submit(run)
        return run

    async def held_by(self, shape: tuple[int, ...], *, is_alone: bool = False) -> bool:
        """Whether a run of that shape holds the loop."""
        self.session.held.clear()
        await self.submit(np.zeros(shape, np.float32), is_alone=is_alone).answer
        (held,) = self.session.held
        return bool(held)

    async def make_quick(self) -> None:
        """Run small requests until the model counts as quick."""
        for _ in range(ENOUGH_TO_BE_MEASURED):
            await self.submit(np.zeros(1, np.float32)).answer


def with_model(work: Callable[[Model], Awaitable[None]], sizes: Sizes = Sizes.SHAPES, **options: Any) -> None:
    """Run a test on its own event loop."""

    async def run() -> None:
        model = Model(sizes, **options)
        try:
            await work(model)
        finally:
            await asyncio.to_thread(model.queue.close)

    asyncio.run(run())


@pytest.mark.parametrize("is_alone", [False, True])
def test_the_first_run_of_a_shape_is_in_a_thread(*, is_alone: bool) -> None:
    """Its time tells whether the next ones, and smaller ones of nearly the same shape, may hold the loop."""

    async def work(model: Model) -> None:
        await model.make_quick()
        assert not await model.held_by((3, 100), is_alone=is_alone)
        assert await model.held_by((3, 100), is_alone=is_alone)
        assert await model.held_by((3, 99), is_alone=is_alone)
        assert not await model.held_by((3, 1, 100), is_alone=is_alone)
        assert not await model.held_by((3, 200), is_alone=is_alone)
        assert not await model.held_by((100, 3), is_alone=is_alone)

    with_model(work)


def test_the_first_run_of_a_shape_is_in_a_thread_with_batching() -> None:
    """With TensorFlow Serving's batching too, where large runs never hold the loop."""

    async def work(model: Model) -> None:
        await model.make_quick()
        assert await model.held_by((1,))
        for _ in range(2):
            assert not await model.held_by((4, 100_000))
        assert not await model.held_by((4, 10))
        assert await model.held_by((4, 10))

    with_model(work, is_batching=True)


@pytest.mark.parametrize("is_batching", [False, True])
@pytest.mark.parametrize("is_alone", [False, True])
def test_a_model_with_sizes_from_values_runs_in_threads(*, is_alone: bool, is_batching: bool) -> None:
    """However quick it was."""

    async def work(model: Model) -> None:
        for _ in range(ENOUGH_TO_BE_MEASURED):
            assert not await model.held_by((1,), is_alone=is_alone)

    with_model(work, Sizes.VALUES, is_batching=is_batching)


def test_many_bytes_whose_contents_decide_run_in_threads() -> None:
    """A text may have more words than the last one of the same size."""

    async def work(model: Model) -> None:
        await model.make_quick()
        for columns, may_hold in ((1000, True), (10_000, False)):
            assert not await model.held_by((1, columns))
            assert await model.held_by((1, columns)) == may_hold

    with_model(work, Sizes.CONTENTS)


def test_a_long_run_lowers_the_bytes_whose_contents_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of as many bytes are in threads for a while."""
    runs, sizes = LoopRuns(), Sizes.CONTENTS
    assert runs.may_hold(sizes, 20_000)
    runs.hold(lambda: None, sizes, 20_000)
    assert runs.may_hold(sizes, 20_000)
    monkeypatch.setattr(loop_runs, "_MAX_HOLD_S", -1.0)  # every run is long
    runs.hold(lambda: None, sizes, 20_000)

    assert not runs.may_hold(sizes, 20_000)
    assert runs.may_hold(sizes, 10_000)
    for _ in range(1000):
        runs.hold(lambda: None, sizes, 10)
    assert runs.may_hold(sizes, 20_000)


def test_a_long_run_in_a_thread_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until such a run takes little time."""

    async def work(model: Model) -> None:
        await model.make_quick()
        monkeypatch.setattr(loop_runs, "_MAX_HOLD_S", -1.0)
        for _ in range(3):
            assert not await model.held_by((3, 100))
        monkeypatch.undo()
        assert not await model.held_by((3, 100))
        assert await model.held_by((3, 100))

    with_model(work)


def test_many_requests_of_a_batch_that_fails_are_run_alone_in_a_thread() -> None:
    """One invalid request among many must not hold the loop for the time of all runs."""

    async def work(model: Model) -> None:
        await model.make_quick()
        for value in (1, -1):  # the first batch makes such runs known
            arrays = [np.full(1, value if index == 3 else 1, np.float32) for index in range(20)]
            model.session.held.clear()
            runs = [model.submit(array, may_merge=True) for array in arrays]
            await asyncio.gather(*[run.answer for run in runs], return_exceptions=True)
        assert model.session.held[0]
        assert len(model.session.held) > len(arrays)
        assert not any(model.session.held[1:])
        assert [run.answer.exception() is None for run in runs].count(False) == 1

    with_model(work)
