"""Plots of `matrix.py`'s results as SVG files: one file per figure, with a panel for each workload and protocol.

python benchmarks/matrix_plots.py matrix-results/matrix.json     # draws them again, next to that file
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

FIGURES = {
    "requests_per_s": "requests per second",
    "cpu_us": "CPU microseconds per request",
    "p99_ms": "p99 in milliseconds",
}
PANEL_WIDTH, PANEL_HEIGHT, MARGIN, TOP = 260, 170, 55, 60
COLOURS = ("#1f77b4", "#d62728")
DASHES = {"merged": "", "single": "5 3"}

Point = tuple[float, float]


def write_plots(document: Mapping[str, Any], folder: Path) -> None:
    """Write an SVG file for each figure."""
    for figure, title in FIGURES.items():
        (folder / f"matrix-{figure}.svg").write_text(_plot(document, figure, title), encoding="utf-8")


def _plot(document: Mapping[str, Any], figure: str, title: str) -> str:
    cells = document["cells"]
    workloads = list(dict.fromkeys(cell["workload"] for cell in cells))
    protocols = list(dict.fromkeys(cell["protocol"] for cell in cells))
    width = MARGIN + len(protocols) * (PANEL_WIDTH + MARGIN)
    height = TOP + len(workloads) * (PANEL_HEIGHT + MARGIN)
    parts = [f'<text x="{MARGIN}" y="20" font-size="15">{escape(title)}, by connections</text>']
    parts += _legend(list(document["commands"]))
    for row, workload in enumerate(workloads):
        for column, protocol in enumerate(protocols):
            series = _series(cells, workload, protocol, figure)
            x, y = MARGIN + column * (PANEL_WIDTH + MARGIN), TOP + row * (PANEL_HEIGHT + MARGIN)
            parts.append(f'<g transform="translate({x} {y})">')
            parts.append(f'<text y="-6" font-size="12">{escape(f"{workload}, {protocol}")}</text>')
            parts += _panel(series, list(document["commands"]))
            parts.append("</g>")
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])


def _legend(names: Sequence[str]) -> list[str]:
    parts = []
    for index, (name, merging) in enumerate((name, merging) for name in names for merging in DASHES):
        x, colour = MARGIN + index * 130, COLOURS[names.index(name) % len(COLOURS)]
        parts.append(
            f'<line x1="{x}" y1="32" x2="{x + 24}" y2="32" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{DASHES[merging]}"/><text x="{x + 28}" y="36" font-size="11">{name}, {merging}</text>'
        )
    return parts


def _series(
    cells: Sequence[Mapping[str, Any]], workload: str, protocol: str, figure: str
) -> dict[tuple[str, str], list[Point]]:
    """By server and merging: the figure for each number of connections."""
    series: dict[tuple[str, str], list[Point]] = {}
    for cell in cells:
        if (cell["workload"], cell["protocol"]) == (workload, protocol):
            for name, sample in cell["servers"].items():
                series.setdefault((name, cell["merging"]), []).append((cell["connections"], sample[figure]))
    return series


def _panel(series: Mapping[tuple[str, str], list[Point]], names: Sequence[str]) -> list[str]:
    """One set of axes, connections on a logarithmic scale and values from zero."""
    if not series:
        return []
    points = [point for line in series.values() for point in line]
    counts = sorted({x for x, _ in points})
    top = max(y for _, y in points) or 1.0
    span = math.log(max(counts)) or 1.0

    def place(x: float, y: float) -> str:
        return f"{math.log(x) / span * PANEL_WIDTH:.1f},{PANEL_HEIGHT * (1 - y / top):.1f}"

    parts = [f'<rect width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}" fill="none" stroke="#999"/>']
    for share in (0, 0.5, 1):
        y = PANEL_HEIGHT * (1 - share)
        parts.append(f'<text x="-4" y="{y + 4:.1f}" font-size="10" text-anchor="end">{top * share:.4g}</text>')
    for count in counts:
        x = place(count, 0).partition(",")[0]
        parts.append(f'<text x="{x}" y="{PANEL_HEIGHT + 13}" font-size="10" text-anchor="middle">{count:g}</text>')
    for (name, merging), line in series.items():
        colour = COLOURS[names.index(name) % len(COLOURS)]
        path = " ".join(place(*point) for point in line)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{DASHES[merging]}"/>'
        )
    return parts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    results = parser.parse_args().results
    write_plots(json.loads(results.read_text(encoding="utf-8")), results.parent)
