"""Parallel calls are shared with helper threads only while that makes runs shorter."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from tfsctl.core import dtypes
from tfsctl.server.execution import replica_executor
from tfsctl.server.execution.replica_executor import HelperGain, ReplicaExecutor
from tfsctl.server.execution.stacked_run import Stack, StackedRun
from tfsctl.server.runtime import capi
from tfsctl.server.runtime.run_timing import RunTiming
from tfsctl.server.runtime.session import Arrays, Endpoint

X, Y = (Endpoint(name, f"{name}:0", dtypes.FLOAT, capi.Output(None, 0)) for name in "xy")
THREADS, REQUESTS = 2, 32
SHARE_S = 0.001
ENOUGH_RUNS, RETRIED_AFTER = 20, 400


def test_helpers_are_expected_to_gain_until_most_runs_have_shown_otherwise() -> None:
    """One slow run, as when the CPU was busy for a moment, changes nothing."""
    gain = HelperGain()
    gain.add(wall_s=10 * SHARE_S, share_cpu_s=SHARE_S, threads=THREADS)
    assert gain.is_expected()
    for _ in range(ENOUGH_RUNS):
        gain.add(wall_s=2 * SHARE_S, share_cpu_s=SHARE_S, threads=THREADS)
    assert not gain.is_expected()


def test_helpers_stay_while_runs_are_shorter() -> None:
    """Also if some runs are not."""
    gain = HelperGain()
    for run in range(10 * ENOUGH_RUNS):
        gain.add(wall_s=(1.1 if run % 4 else 5) * SHARE_S, share_cpu_s=SHARE_S, threads=THREADS)
        assert gain.is_expected()


@pytest.mark.parametrize("gains", [True, False])
def test_helpers_are_tried_again_after_some_time(gains: bool) -> None:
    """One run decides whether they are used from then on."""
    gain = HelperGain()
    for _ in range(ENOUGH_RUNS):
        gain.add(wall_s=2 * SHARE_S, share_cpu_s=SHARE_S, threads=THREADS)
    runs_without = 0
    while not gain.is_expected():
        runs_without += 1
        assert runs_without < RETRIED_AFTER
    assert runs_without > ENOUGH_RUNS
    gain.add(wall_s=(1.1 if gains else 2) * SHARE_S, share_cpu_s=SHARE_S, threads=THREADS)
    assert gain.is_expected() is gains


class SlowHelpers:
    """Replicas whose runs take long in every thread but the main one."""

    may_pack = True

    def __init__(self) -> None:
        self.helped = 0

    def run_packed(self, stacked: Sequence[np.ndarray]) -> Arrays:
        """Twice the input."""
        if threading.current_thread() is not threading.main_thread():
            self.helped += 1
            time.sleep(SHARE_S)
        return [2 * array for array in stacked]


def test_requests_are_run_without_helpers_that_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """All requests are answered with helpers and without."""
    monkeypatch.setattr(replica_executor, "cpu_count", lambda: THREADS)
    executor, replicas = ReplicaExecutor(None, "m", RunTiming()), SlowHelpers()  # type: ignore[arg-type] # no run
    executor._replicas[X, Y] = replicas  # type: ignore[assignment]
    values = np.arange(REQUESTS, dtype=np.float32).reshape(REQUESTS, 1)
    for _ in range(2 * ENOUGH_RUNS):
        outputs = executor.run(StackedRun([X], [Y], Stack(REQUESTS, arrays=[values])))
        assert outputs.arrays is not None
        assert np.array_equal(outputs.arrays[0], 2 * values)
    assert 0 < replicas.helped < ENOUGH_RUNS
    assert executor.close()
