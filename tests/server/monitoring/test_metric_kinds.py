"""Counters and histograms, as the page for Prometheus has them."""

from __future__ import annotations

from tfsctl.server.monitoring.metrics import MAX_CELLS, Counter, Histogram, exponential, page
from tfsctl.server.monitoring.serving_metrics import ServingMetrics


def test_numbers_are_written_as_absl_writes_them() -> None:
    """Six digits, no trailing zeros; counts are integers."""
    histogram = Histogram("h", "a", limits=exponential(10, 1.8, 33))
    histogram.cell("x").observe(10)
    histogram.cell("x").observe(1432172.5)
    counter = Counter("c")
    counter.add(by=54854681)
    lines = page([histogram, counter]).decode().splitlines()

    assert lines[:2] == ["# TYPE c counter", "c{} 54854681"]
    assert 'h_bucket{a="x",le="10"} 0' in lines  # a bucket ends before its limit
    assert 'h_bucket{a="x",le="18"} 1' in lines
    assert 'h_bucket{a="x",le="1.47476e+09"} 2' in lines
    assert lines[-3:] == ['h_bucket{a="x",le="+Inf"} 2', 'h_sum{a="x"} 1.43218e+06', 'h_count{a="x"} 2']


def test_label_values_are_escaped() -> None:
    """So any model name leaves the page valid."""
    counter = Counter("c", "model")
    counter.add('a"b\\c\nd')

    assert page([counter]) == b'# TYPE c counter\nc{model="a\\"b\\\\c\\nd"} 1\n'


def test_label_values_are_bounded() -> None:
    """After a thousand sets of label values, all others are counted together."""
    counter, histogram = Counter("c", "model"), Histogram("h", "model", limits=[1])
    for number in range(MAX_CELLS + 10):
        counter.add(f"m{number}")
        histogram.cell(f"m{number}").observe(1)

    lines = page([counter, histogram]).decode().splitlines()
    assert 'c{model=""} 10' in lines
    assert 'h_count{model=""} 10' in lines
    assert len([line for line in lines if line.startswith("c{")]) == MAX_CELLS + 1


def test_the_page_has_all_metrics_before_any_request() -> None:
    """As in the real server, so that dashboards find them."""
    text = ServingMetrics().page().decode()

    assert "# TYPE :tensorflow:serving:request_latency histogram\n" in text
    assert "{" not in text
