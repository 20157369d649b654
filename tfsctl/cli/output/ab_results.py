"""Print the results of an A/B test."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tfsctl.cli.output import terminal

if TYPE_CHECKING:
    from tfsctl.rollout.ab_test import Results
    from tfsctl.rollout.experiment.outcomes import Outcomes

SPLIT_ALARM = 0.001  # a split that is less likely than this is no accident


def print_results(results: Results) -> None:
    """Print both versions as a table, then the outcomes if there are any. Warnings go to stderr."""
    document = results.document()
    terminal.answer(
        f"{document['model']}: A/B test of versions {document['arms'][0]['version']} and "
        f"{document['arms'][1]['version']} by {document['sticky']}, {document['status'].replace('_', ' ')}"
    )
    columns = ("arm", "version", "share", "requests", "errors", "users", "p50 ms", "p99 ms")
    terminal.answer_table(columns, [_row(arm) for arm in document["arms"]])
    if document["split_p_value"] < SPLIT_ALARM:
        keys = " and ".join(f"{arm['keys']:,}" for arm in document["arms"])
        terminal.say(
            f"warning: {keys} users do not fit the weights (p = {document['split_p_value']:.2g}): "
            "the versions may have had different users"
        )
    if document["keys_of_both"]:
        terminal.say(f"warning: {document['keys_of_both']:,} users had answers of both versions; they have no outcome")
    without_key = sum(arm["without_key"] for arm in document["arms"])
    if without_key:
        terminal.say_note(f"{without_key:,} requests had no {document['sticky']}: their version was chosen at random")
    if results.outcomes is not None:
        _print_outcomes(results.outcomes)


def _row(arm: dict[str, Any]) -> tuple[str, ...]:
    latency = arm["latency_ms"] or {}
    numbers = (f"{arm['percent']:g} %", f"{arm['requests']:,}", f"{arm['errors']:,}", f"{arm['keys']:,}")
    times = (f"{latency[rank]:.3g}" if rank in latency else "-" for rank in ("p50", "p99"))
    return (arm["arm"].upper(), str(arm["version"]), *numbers, *times)


def _print_outcomes(outcomes: Outcomes) -> None:
    unjoined = outcomes.unjoined
    column = outcomes.outcome_column
    terminal.answer(f"{column}: {outcomes.rows:,} rows joined, {unjoined.rows:,} not joined")
    shown = f", such as {', '.join(unjoined.unknown_keys)}" if unjoined.unknown_keys else ""
    reasons = (
        (unjoined.without_request, f"{outcomes.key_column} without a request in the A/B test{shown}"),
        (unjoined.several_versions, f"{outcomes.key_column} that both versions answered"),
        (unjoined.without_key, f"no {outcomes.key_column}"),
        (unjoined.without_outcome, f"no {column}"),
    )
    for count, reason in reasons:
        if count:
            terminal.answer(f"  not joined: {count:,} with {reason}")
    what = "rate" if outcomes.is_rate else "mean"
    rows = []
    for name, (version, arm) in zip("AB", outcomes.arms.items(), strict=True):
        interval = f"{_text(arm.low, outcomes)} to {_text(arm.high, outcomes)}"
        rows.append((name, str(version), f"{arm.keys:,}", _text(arm.mean, outcomes), interval))
        if arm.keys_without_row:
            treated = "left out" if outcomes.missing is None else f"counted as {outcomes.missing:g}"
            terminal.say_note(f"{arm.keys_without_row:,} users of version {version} have no row: {treated}")
    terminal.answer_table(("arm", "version", "users", what, f"{outcomes.confidence:.0%} interval"), rows)
    found = outcomes.difference
    terminal.answer(
        f"B - A: {_text(found.value, outcomes, signed=True)} "
        f"({_text(found.low, outcomes, signed=True)} to {_text(found.high, outcomes, signed=True)}), "
        f"p = {'unknown' if math.isnan(found.p_value) else format(found.p_value, '.3g')}"
    )


def _text(value: float, outcomes: Outcomes, *, signed: bool = False) -> str:
    """A value of the outcome; rates are percentages, and their differences percentage points."""
    if math.isnan(value):
        return "unknown"
    sign = "+" if signed else ""
    if not outcomes.is_rate:
        return format(value, f"{sign}.4g")
    return format(100 * value, f"{sign}.3g") + (" points" if signed else " %")
