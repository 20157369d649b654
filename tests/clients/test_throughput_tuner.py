"""How batches grow: until throughput stops rising, and never past what the server takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tfsctl.clients.throughput_tuner import MOST_AT_ONCE, MOST_ROWS, Growth, Setting


def run(
    growth: Growth, now: list[float], latency_s: Callable[[Setting], float], *, seconds: float, row_bytes: int = 10
) -> Setting:
    """Answer requests as a server of that latency would, for so long; the setting it came to."""
    end = now[0] + seconds
    while now[0] < end:
        asked = growth.setting
        now[0] += latency_s(asked) / asked.at_once
        growth.answered(asked.rows, latency_s(asked), asked.rows * row_bytes, asked)
    return growth.setting


def grown(latency_s: Callable[[Setting], float], **options: int) -> Setting:
    """The setting after a while, before it is tried again."""
    now = [0.0]
    return run(Growth(None, None, clock=lambda: now[0]), now, latency_s, seconds=1.9, **options)


def test_rows_grow_while_a_request_costs_more_than_its_rows() -> None:
    """A request of 1 ms and 1 us a row: the largest batch is the best."""
    assert grown(lambda setting: 0.001 + setting.rows * 1e-6).rows == MOST_ROWS


def test_rows_stop_where_more_are_no_faster() -> None:
    """1 ms a row: a batch is no better than a row, and a few more at once are none."""
    assert grown(lambda setting: setting.rows * 0.001 * setting.at_once).rows <= 64


def test_more_at_once_where_the_server_does_more_at_once() -> None:
    """A server whose latency does not depend on how many ask gets asked by many."""
    assert grown(lambda _setting: 0.002).at_once == MOST_AT_ONCE


def test_large_rows_make_small_batches() -> None:
    """A request stays within a few megabytes."""
    assert grown(lambda setting: 0.001 + setting.rows * 1e-6, row_bytes=600_000).rows <= 16


def test_what_the_server_refused_is_not_tried_again() -> None:
    """Neither so many rows nor so many requests."""
    now = [0.0]
    growth = Growth(None, None, clock=lambda: now[0])
    run(growth, now, lambda _setting: 0.002, seconds=1.0)
    growth.refused(200)
    growth.exhausted()
    most = growth.setting

    assert most.rows <= 100
    assert most.at_once <= MOST_AT_ONCE // 2
    for _ in range(20):
        found = run(growth, now, lambda _setting: 0.002, seconds=0.5)
        assert found.rows <= most.rows
        assert found.at_once <= most.at_once


def test_loads_that_change_are_noticed() -> None:
    """A server that had no time for large batches, and now has."""
    now = [0.0]
    growth = Growth(None, None, clock=lambda: now[0])
    before = run(growth, now, lambda setting: setting.rows * 0.001 * setting.at_once, seconds=3)
    after = run(growth, now, lambda setting: 0.001 + setting.rows * 1e-6, seconds=8)

    assert before.rows < after.rows == MOST_ROWS


@pytest.mark.parametrize(("rows", "at_once"), [(7, 3), (7, None), (None, 3)])
def test_what_is_asked_for_stays(rows: int | None, at_once: int | None) -> None:
    """--batch-size and --concurrency are taken at their word."""
    now = [0.0]
    growth = Growth(rows, at_once, clock=lambda: now[0])
    found = run(growth, now, lambda setting: 0.001 + setting.rows * 1e-6, seconds=3)

    assert rows in (None, found.rows)
    assert at_once in (None, found.at_once)
