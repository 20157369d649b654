"""`--fail-if`: thresholds on the numbers of a comparison, and whether they hold.

agreement<0.98      accuracy.delta<-0.01      accuracy.delta@country=CH<-0.03      p99.ratio>1.3
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tfsctl.errors import InvalidInput

MIN_ROWS = 30
Outcome = Literal["passed", "failed", "undecided"]

_GATE = re.compile(r"(?P<metric>[^<>=@]+?)(?:@(?P<slice>.+?))?\s*(?P<sign><=|>=|<|>)\s*(?P<limit>\S+)")
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Gate:
    """A threshold: the comparison fails if the value of `metric` in `slice` is beyond `limit`."""

    text: str
    metric: str
    slice: str
    sign: str
    limit: float


@dataclass(frozen=True, slots=True)
class GateResult:
    """A gate and its outcome. `value` is NaN if it could not be computed; `reason` says why it is undecided."""

    gate: str
    outcome: Outcome
    value: float
    rows: int
    reason: str = ""


def parse_gate(text: str) -> Gate:
    """Parse `METRIC[@COLUMN=VALUE]SIGN NUMBER`. Raises InvalidInput."""
    match = _GATE.fullmatch(text.strip())
    try:
        limit = float(match["limit"]) if match else math.nan
    except ValueError:
        limit = math.nan
    if match is None or not math.isfinite(limit):
        raise InvalidInput(
            f"--fail-if {text!r} is not a threshold",
            hint="write METRIC, a sign and a number: --fail-if 'agreement<0.98'",
        )
    return Gate(text.strip(), match["metric"].strip(), (match["slice"] or "").strip(), match["sign"], limit)


def check_gate_columns(gates: Iterable[Gate], slices: Iterable[Sequence[str]]) -> None:
    """Raise InvalidInput for a gate on a slice of other columns than `slices`: their values are not known yet."""
    columns = list(slices)
    for gate in gates:
        if gate.slice and not any(_is_slice_of(gate.slice, names) for names in columns):
            known = [",".join(f"{name}=VALUE" for name in names) for names in columns]
            raise _unknown_slice(gate, known)


def _is_slice_of(text: str, names: Sequence[str]) -> bool:
    return re.fullmatch(",".join(f"{re.escape(name)}=.*" for name in names), text, re.DOTALL) is not None


def _unknown_slice(gate: Gate, known: Sequence[str]) -> InvalidInput:
    return InvalidInput(
        f"--fail-if {gate.text!r}: there is no slice {gate.slice!r}",
        hint=f"slices: {', '.join(known) or 'none; name the column with --slice'}",
    )


def check_gates(
    gates: Iterable[Gate], numbers: Mapping[str, Mapping[str, float]], rows: Mapping[str, int], min_rows: int = MIN_ROWS
) -> list[GateResult]:
    """Check each gate against `numbers`: slice ("" for all rows) -> metric -> value; `rows`: slice -> rows.

    A gate on fewer than `min_rows` rows, or on a value that is not a number, is undecided.
    Raises InvalidInput for a slice or metric that the comparison does not have.
    """
    return [_check(gate, numbers, rows, min_rows) for gate in gates]


def _check(
    gate: Gate, numbers: Mapping[str, Mapping[str, float]], rows: Mapping[str, int], min_rows: int
) -> GateResult:
    if gate.slice not in numbers:
        raise _unknown_slice(gate, sorted(filter(None, numbers))[:10])
    values = numbers[gate.slice]
    if gate.metric not in values:
        raise InvalidInput(
            f"--fail-if {gate.text!r}: there is no metric {gate.metric!r}", hint=f"metrics: {', '.join(sorted(values))}"
        )
    value, count = values[gate.metric], rows[gate.slice]
    if count < min_rows:
        return GateResult(gate.text, "undecided", value, count, f"{count} rows, and --min-rows is {min_rows}")
    if math.isnan(value):
        return GateResult(gate.text, "undecided", value, count, f"{gate.metric} cannot be computed on these rows")
    return GateResult(gate.text, "failed" if _SIGNS[gate.sign](value, gate.limit) else "passed", value, count)
