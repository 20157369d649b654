"""Prints the result of `tfsctl compare`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from tfsctl.cli.output import terminal
from tfsctl.cli.output.units import size_text
from tfsctl.rollout.comparison.junit import describe_gate
from tfsctl.rollout.comparison.result import ALL_ROWS, Comparison

MAX_SLICES_SHOWN = 20
MAX_WORST_SHOWN = 5


def json_document(found: Comparison) -> dict[str, object]:
    """The document of --json: NaN and infinities are null, which every JSON parser reads."""
    return {name: _finite(value) for name, value in found.document().items()}


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_comparison(found: Comparison) -> None:
    """Print the summary, the tables that have rows, and the outcome of each threshold."""
    counted = found.rows - found.unstable
    terminal.answer(f"agreement: {found.agreement:.2%} of {counted:,} rows")
    if found.unstable:
        terminal.answer(f"not counted: {found.unstable:,} rows on which {found.a.name} disagrees with itself")
    for change in found.changes:
        terminal.answer(f"signature {change.signature}: {change.what}{' (breaks clients)' if change.breaks else ''}")
    _print_outputs(found)
    _print_quality(found)
    _print_slices(found)
    if found.latency:
        rows = [
            (one.name, f"{1000 * one.a:.2f} ms", f"{1000 * one.b:.2f} ms", f"{one.b / one.a:.2f}", _range(one.ratio))
            for one in found.latency
        ]
        _print_table(("latency", "A", "B", "ratio", "95 %"), rows)
    _print_sides(found)
    if found.agreement < 1 and found.worst:
        shown = [(str(row.row), _json(row.inputs), _json(row.a), _json(row.b)) for row in found.worst[:MAX_WORST_SHOWN]]
        _print_table(("row", "inputs", "A", "B"), shown)
    for gate in found.gates:
        terminal.answer(describe_gate(gate))


def _print_outputs(found: Comparison) -> None:
    names = list(dict.fromkeys(name for statistics in found.outputs.values() for name in statistics if name != "kind"))
    columns = ("output", *names)
    rows: list[tuple[str, ...]] = [
        (output, *(_number(statistics.get(name)) for name in names)) for output, statistics in found.outputs.items()
    ]
    if terminal.is_interactive():  # one column per output: the names of the statistics are long
        columns, *rows = zip(columns, *rows, strict=True)
    _print_table(columns, rows)


def _print_quality(found: Comparison) -> None:
    metrics = found.parts[ALL_ROWS].metrics
    if not metrics:
        return
    rows = [(one.name, f"{one.a:.6g}", f"{one.b:.6g}", f"{one.delta:+.6g}", _range(one.interval)) for one in metrics]
    _print_table(("metric", "A", "B", "B - A", "95 %"), rows)
    if found.flips is not None:
        flips = found.flips
        terminal.answer(
            f"only A is right: {flips.only_a:,} rows; only B: {flips.only_b:,} (McNemar p = {flips.p_value:.3g})"
        )
    if found.calibration is not None:
        terminal.answer(f"calibration error: A {found.calibration[0].error:.4f}, B {found.calibration[1].error:.4f}")


def _print_slices(found: Comparison) -> None:
    slices = [(name, part) for name, part in found.parts.items() if name != ALL_ROWS]
    if not slices:
        return
    rows = [
        (
            name,
            f"{part.rows:,}",
            f"{part.agreement:.2%}",
            f"{part.metrics[0].name} {part.metrics[0].delta:+.4g}" if part.metrics else "",
        )
        for name, part in slices[:MAX_SLICES_SHOWN]
    ]
    _print_table(("slice", "rows", "agreement", "B - A"), rows)
    if len(slices) > MAX_SLICES_SHOWN:
        terminal.say(f"{len(slices) - MAX_SLICES_SHOWN} more slices: --json and --html list all")


def _print_sides(found: Comparison) -> None:
    rows = [
        (
            role,
            side.name,
            "" if side.size_bytes is None else size_text(side.size_bytes),
            "" if side.memory_bytes is None else size_text(side.memory_bytes),
            "" if side.load_s is None else f"{side.load_s:.1f} s",
        )
        for role, side in (("A", found.a), ("B", found.b))
    ]
    if any(any(row[2:]) for row in rows):
        _print_table(("side", "version", "size", "memory", "load"), rows)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with its column names, in the log of a CI system too."""
    if not terminal.is_interactive():
        terminal.answer("\t".join(columns))
    terminal.answer_table(columns, rows)


def _range(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.4g} to {interval[1]:.4g}"


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else ""


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
