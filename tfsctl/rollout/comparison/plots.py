"""Plots of a comparison as inline SVG. Colours are CSS variables of the page, so they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from tfsctl.rollout.comparison.quality import Calibration, Metric

WIDTH = 420
ROW_HEIGHT = 26
LABEL_WIDTH = 130


def interval_plot(metrics: Sequence[Metric]) -> str:
    """B - A of each metric with its interval; each row has its own scale, with 0 in the middle."""
    rows = []
    for at, one in enumerate(metrics):
        ends = [value for value in (*one.interval, one.delta) if math.isfinite(value)]
        widest = max(map(abs, ends), default=0.0) or 1.0

        def x(value: float, widest: float = widest) -> float:
            return LABEL_WIDTH + (WIDTH - LABEL_WIDTH) * (0.5 + 0.45 * value / widest)

        y = at * ROW_HEIGHT + ROW_HEIGHT / 2
        rows.append(_text(0, y + 4, one.name))
        if all(map(math.isfinite, one.interval)):
            rows.append(_line(x(one.interval.low), y, x(one.interval.high), y, "a"))
        if math.isfinite(one.delta):
            kind = "b" if one.harm > 0 else "good"
            rows.append(f'<circle class="{kind}" cx="{x(one.delta):.1f}" cy="{y:.1f}" r="5"/>')
    middle = LABEL_WIDTH + (WIDTH - LABEL_WIDTH) / 2
    height = len(metrics) * ROW_HEIGHT
    return _svg(height, [_line(middle, 0, middle, height, "axis"), *rows], "B - A with 95 % intervals")


def calibration_plot(a: Calibration, b: Calibration) -> str:
    """The share of right rows against the predicted probability; the diagonal is perfect calibration."""
    size = 260
    parts = [_line(0, size, size, 0, "axis"), f'<rect class="frame" width="{size}" height="{size}"/>']
    for kind, side in (("a", a), ("b", b)):
        points = [(mean * size, size - share * size) for _, mean, share in side.bins]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="{kind}" points="{line}"/>')
        parts += [f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in points]
    return _svg(size, parts, "calibration of A and B", width=size)


def share_bars(rows: Sequence[tuple[str, float]]) -> str:
    """A bar from 0 to 1 for each name."""
    parts = []
    for at, (name, share) in enumerate(rows):
        y = at * ROW_HEIGHT
        width = (WIDTH - LABEL_WIDTH - 60) * min(max(share, 0.0), 1.0)
        parts.append(_text(0, y + 17, name))
        parts.append(f'<rect class="bar" x="{LABEL_WIDTH}" y="{y + 5}" width="{width:.1f}" height="16"/>')
        parts.append(_text(LABEL_WIDTH + width + 6, y + 17, f"{share:.2%}"))
    return _svg(len(rows) * ROW_HEIGHT, parts, "share of rows that agree")


def _svg(height: float, parts: Sequence[str], title: str, width: int = WIDTH) -> str:
    inner = "".join(parts)
    return (
        f'<svg viewBox="0 0 {width} {max(height, 1):.0f}" width="{width}" role="img">'
        f"<title>{escape(title)}</title>{inner}</svg>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str) -> str:
    shown = text if len(text) <= 20 else f"{text[:19]}…"
    return f'<text x="{x:.1f}" y="{y:.1f}">{escape(shown)}<title>{escape(text)}</title></text>'
