"""Counters, histograms and gauges, and the Prometheus text page that shows them as TensorFlow Serving does.

This is not prometheus-client, which names a counter NAME_total and writes le="10.0" and 1.0. TensorFlow Serving's page
has NAME, le="10" and 1, and existing dashboards query those. Page: tensorflow_serving/util/prometheus_exporter.cc.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

Labels = tuple[str, ...]
MAX_CELLS = 1000  # per metric: label values may come from requests, so their number is bounded


class Counter:
    """A sum that only grows, for each set of label values."""

    kind = "counter"

    def __init__(self, name: str, *labels: str) -> None:
        self.name = name
        self._labels = labels
        self._cells: dict[Labels, int] = {}

    def add(self, *values: str, by: int = 1) -> None:
        """Add to the count of these label values (in the labels' order). Sets beyond MAX_CELLS share an empty one."""
        cells = self._cells
        if values not in cells and len(cells) >= MAX_CELLS:
            values = ("",) * len(values)
        cells[values] = cells.get(values, 0) + by

    def with_added(self, counts: Iterable[tuple[Labels, int]]) -> Counter:
        """A copy of this counter with these counts added."""
        counter = Counter(self.name, *self._labels)
        for values, count in (*list(self._cells.items()), *counts):
            counter.add(*values, by=count)
        return counter

    def first(self) -> int:
        """The count for the first set of label values, in the order of the page; 0 if there is none."""
        return min(self._cells.items(), default=((), 0))[1]

    def lines(self) -> Iterator[str]:
        """The metric's lines of the page."""
        for values, count in sorted(self._cells.items()):
            yield f"{self.name}{{{_label_text(self._labels, values)}}} {count}"


class Cell:
    """The observations for one set of label values. A frequent observer keeps its cell."""

    __slots__ = ("_limits", "counts", "total")

    def __init__(self, limits: Sequence[float]) -> None:
        self._limits = limits
        self.counts = [0] * (len(limits) + 1)
        self.total = 0.0

    def observe(self, value: float, *, times: int = 1) -> None:
        """Add one observation, or several equal ones."""
        self.counts[bisect_right(self._limits, value)] += times
        self.total += value * times


class Histogram:
    """Observed values in buckets, for each set of label values. `limits` are the buckets' upper ends except infinity."""

    kind = "histogram"

    def __init__(self, name: str, *labels: str, limits: Sequence[float]) -> None:
        self.name = name
        self._labels = labels
        self._limits = tuple(limits)
        self._cells: dict[Labels, Cell] = {}

    def cell(self, *values: str) -> Cell:
        """The cell of these label values (in the labels' order). Sets beyond MAX_CELLS share an empty one."""
        cell = self._cells.get(values)
        if cell is None:
            if len(self._cells) >= MAX_CELLS:
                values = ("",) * len(values)
            cell = self._cells.setdefault(values, Cell(self._limits))
        return cell

    def counts(self) -> dict[Labels, int]:
        """The number of observations by label values."""
        return {values: sum(cell.counts) for values, cell in list(self._cells.items())}

    def lines(self) -> Iterator[str]:
        """The metric's lines of the page. For each set of label values: its cumulative buckets, its sum, its count."""
        for values, cell in sorted(self._cells.items()):
            text = _label_text(self._labels, values)
            cumulative = 0
            for limit, count in zip((*(f"{limit:g}" for limit in self._limits), "+Inf"), cell.counts, strict=True):
                cumulative += count
                yield f'{self.name}_bucket{{{text}{"," if text else ""}le="{limit}"}} {cumulative}'
            yield f"{self.name}_sum{{{text}}} {cell.total:g}"
            yield f"{self.name}_count{{{text}}} {cumulative}"


class Gauge:
    """A value at the moment, read when the page is written."""

    kind = "gauge"

    def __init__(self, name: str, read: Callable[[], float]) -> None:
        self.name = name
        self._read = read

    def lines(self) -> Iterator[str]:
        """The metric's line of the page."""
        yield f"{self.name}{{}} {self._read():.12g}"


Metric = Counter | Histogram | Gauge


def exponential(first: float, growth: float, count: int) -> list[float]:
    """The upper ends of `count` buckets, each `growth` times the one before."""
    return [first * growth**power for power in range(count)]


def page(metrics: Iterable[Metric]) -> bytes:
    """The text page: every metric in the order of the names, also those without a value yet."""
    lines: list[str] = []
    for metric in sorted(metrics, key=lambda metric: metric.name):
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        lines += metric.lines()
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _label_text(names: Sequence[str], values: Labels) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
