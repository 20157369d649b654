"""Batches grow until throughput stops rising, or the server refuses them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tfsctl.clients.bulk.throughput_tuner import MAX_CONCURRENCY, MAX_ROWS, RequestSettings, ThroughputTuner


def run(
    tuner: ThroughputTuner,
    now: list[float],
    latency_s: Callable[[RequestSettings], float],
    *,
    seconds: float,
    row_bytes: int = 10,
) -> RequestSettings:
    """Simulate a server with this latency for a time; returns the settings of the tuner."""
    end = now[0] + seconds
    while now[0] < end:
        settings = tuner.settings
        now[0] += latency_s(settings) / settings.concurrency
        tuner.record_answer(settings.rows, latency_s(settings), settings.rows * row_bytes, settings)
    return tuner.settings


def grown(latency_s: Callable[[RequestSettings], float], **options: int) -> RequestSettings:
    """The settings at the end of the first tuning."""
    now = [0.0]
    return run(ThroughputTuner(None, None, clock=lambda: now[0]), now, latency_s, seconds=1.9, **options)


def test_rows_grow_with_the_cost_of_a_request() -> None:
    """A request of 1 ms and 1 us a row: the largest batch is the best."""
    assert grown(lambda settings: 0.001 + settings.rows * 1e-6).rows == MAX_ROWS


def test_rows_stop_growing_without_gain() -> None:
    """1 ms per row: neither larger batches nor more requests at a time are faster."""
    assert grown(lambda settings: settings.rows * 0.001 * settings.concurrency).rows <= 64


def test_concurrency_of_a_parallel_server() -> None:
    """If the latency does not depend on the number of requests, the concurrency grows."""
    assert grown(lambda _setting: 0.002).concurrency == MAX_CONCURRENCY


def test_large_rows_make_small_batches() -> None:
    """A request stays within a few megabytes."""
    assert grown(lambda settings: 0.001 + settings.rows * 1e-6, row_bytes=600_000).rows <= 16


def test_refused_sizes_are_not_tried_again() -> None:
    """After a refusal, the tuner tries neither that number of rows nor that number of requests again."""
    now = [0.0]
    tuner = ThroughputTuner(None, None, clock=lambda: now[0])
    run(tuner, now, lambda _setting: 0.002, seconds=1.0)
    tuner.record_too_large(200)
    tuner.record_overload()
    most = tuner.settings

    assert most.rows <= 100
    assert most.concurrency <= MAX_CONCURRENCY // 2
    for _ in range(20):
        found = run(tuner, now, lambda _setting: 0.002, seconds=0.5)
        assert found.rows <= most.rows
        assert found.concurrency <= most.concurrency


def test_tunes_again_after_a_load_change() -> None:
    """A server that had no time for large batches, and now has."""
    now = [0.0]
    tuner = ThroughputTuner(None, None, clock=lambda: now[0])
    before = run(tuner, now, lambda settings: settings.rows * 0.001 * settings.concurrency, seconds=3)
    after = run(tuner, now, lambda settings: 0.001 + settings.rows * 1e-6, seconds=8)

    assert before.rows < after.rows == MAX_ROWS


@pytest.mark.parametrize(("rows", "concurrency"), [(7, 3), (7, None), (None, 3)])
def test_given_values_stay_fixed(rows: int | None, concurrency: int | None) -> None:
    """--batch-size and --concurrency are not tuned."""
    now = [0.0]
    tuner = ThroughputTuner(rows, concurrency, clock=lambda: now[0])
    found = run(tuner, now, lambda settings: 0.001 + settings.rows * 1e-6, seconds=3)

    assert rows in (None, found.rows)
    assert concurrency in (None, found.concurrency)
