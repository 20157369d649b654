"""A comparison as one HTML file that needs no network: tables, and plots as inline SVG."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape

from tfsctl.rollout.comparison import plots
from tfsctl.rollout.comparison.junit import describe_gate
from tfsctl.rollout.comparison.result import ALL_ROWS, Comparison, SideFacts

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #65707c; --paper: #fff; --line: #d8dde3;
        --a: #3559b8; --b: #c2410c; --good: #15803d; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #9aa5b1; --paper: #16181c; --line: #363c44; --a: #8fb0ff; --b: #ff9b66; --good: #6fd08c; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
       max-width: 60rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; } .wide { overflow-x: auto; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; } code { font-size: .9em; overflow-wrap: anywhere; }
.failed, .undecided { color: var(--b); font-weight: 600; } .passed { color: var(--good); font-weight: 600; }
svg { max-width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 13px; }
svg .axis { stroke: var(--line); } svg .frame { fill: none; stroke: var(--line); } svg .bar { fill: var(--a); }
svg .a { stroke: var(--a); stroke-width: 2; fill: var(--a); } svg .b { stroke: var(--b); stroke-width: 2; fill: var(--b); }
svg .good { fill: var(--good); } svg polyline { fill: none !important; }
"""


def html_report(comparison: Comparison) -> str:
    """The page."""
    verdict = "passed" if comparison.passed else "failed"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>{escape(comparison.a.name)} and {escape(comparison.b.name)}</title><style>{_STYLE}</style>",
        f"<h1>{_code(comparison.a.name)} and {_code(comparison.b.name)}</h1>",
        f"<p>{comparison.agreement:.2%} of {comparison.rows - comparison.unstable:,} rows agree.",
        f" {comparison.unstable:,} rows are not counted, because A disagrees with itself on them."
        * bool(comparison.unstable),
        f' <span class="{verdict}">{verdict}</span></p>' if comparison.gates else "</p>",
        *_section("Gates", ("outcome", "gate"), [(gate.outcome, describe_gate(gate)) for gate in comparison.gates]),
        *_section("Sides", ("", "version", "size", "memory", "load"), map(_side, (comparison.a, comparison.b))),
        *_section("Signatures", ("signature", "change"), [(one.signature, one.what) for one in comparison.changes]),
        *_outputs(comparison),
        *_quality(comparison),
        *_slices(comparison),
        *_section(
            "Latency of single requests",
            ("", "A", "B", "ratio", "95 %"),
            [
                (
                    one.name,
                    f"{1000 * one.a:.2f} ms",
                    f"{1000 * one.b:.2f} ms",
                    f"{one.b / one.a:.2f}",
                    f"{one.ratio.low:.2f} to {one.ratio.high:.2f}",
                )
                for one in comparison.latency
            ],
        ),
        *_section(
            "Rows that differ most",
            ("row", "inputs", "A", "B"),
            [(str(row.row), _json(row.inputs), _json(row.a), _json(row.b)) for row in comparison.worst],
        ),
    ]
    return "\n".join(parts) + "\n</html>\n"


def _outputs(comparison: Comparison) -> list[str]:
    names = list(dict.fromkeys(name for statistics in comparison.outputs.values() for name in statistics))
    rows = [
        (output, *(_number(statistics.get(name)) for name in names))
        for output, statistics in comparison.outputs.items()
    ]
    return _section("Outputs", ("output", *names), rows)


def _quality(comparison: Comparison) -> list[str]:
    metrics = comparison.parts[ALL_ROWS].metrics
    rows = [
        (
            one.name,
            f"{one.a:.6g}",
            f"{one.b:.6g}",
            f"{one.delta:+.6g}",
            f"{one.interval.low:+.4g} to {one.interval.high:+.4g}",
        )
        for one in metrics
    ]
    parts = _section("Quality", ("metric", "A", "B", "B - A", "95 %"), rows)
    if metrics:
        parts.append(plots.interval_plot(metrics))
    if comparison.flips is not None:
        flips = comparison.flips
        parts.append(
            f"<p>Only A is right on {flips.only_a:,} rows, only B on {flips.only_b:,} "
            f"(McNemar: p = {flips.p_value:.3g}).</p>"
        )
    if comparison.calibration is not None:
        a, b = comparison.calibration
        parts.append(f"<h3>Calibration</h3><p>Expected error: A {a.error:.4f}, B {b.error:.4f}.</p>")
        parts.append(plots.calibration_plot(a, b))
    return parts


def _slices(comparison: Comparison) -> list[str]:
    slices = {name: part for name, part in comparison.parts.items() if name != ALL_ROWS}
    rows = [
        (name, f"{part.rows:,}", f"{part.agreement:.2%}", *(f"{one.name} {one.delta:+.4g}" for one in part.metrics[:1]))
        for name, part in slices.items()
    ]
    parts = _section("Slices, largest loss first", ("slice", "rows", "agreement", "B - A"), rows)
    if slices:
        parts.append(plots.share_bars([(name, part.agreement) for name, part in slices.items()][:20]))
    return parts


def _side(side: SideFacts) -> tuple[str, ...]:
    return (
        side.name,
        str(side.version or ""),
        "" if side.size_bytes is None else f"{side.size_bytes / 1e6:.1f} MB",
        "" if side.memory_bytes is None else f"{side.memory_bytes / 1e6:.0f} MB",
        "" if side.load_s is None else f"{side.load_s:.1f} s",
    )


def _section(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A heading and a table; nothing without rows."""
    lines = ["<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    if not lines:
        return []
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    return [f"<h2>{escape(title)}</h2><div class=wide><table><tr>{head}</tr>", *lines, "</table></div>"]


def _cell(text: str) -> str:
    if text in ("passed", "failed", "undecided"):
        return f'<span class="{text}">{text}</span>'
    return escape(text)


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else str(value if value is not None else "")
