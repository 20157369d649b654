"""The result of a comparison, its JSON document, and its numbers by the names that `--fail-if` takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfsctl.core.compatibility import Change
from tfsctl.rollout.comparison.gates import GateResult
from tfsctl.rollout.comparison.intervals import Interval
from tfsctl.rollout.comparison.quality import Calibration, Flips, Metric

if TYPE_CHECKING:
    import pandas as pd
    from _typeshed import DataclassInstance

ALL_ROWS = ""


@dataclass(frozen=True, slots=True)
class Part:
    """All rows, or the rows of one slice: how many there are, the share that agrees, and the metrics of the task."""

    rows: int
    agreement: float
    metrics: Sequence[Metric] = ()

    @property
    def harm(self) -> float:
        """How much worse B is here: by the first metric, or by disagreement without a task."""
        return self.metrics[0].harm if self.metrics else 1 - self.agreement


@dataclass(frozen=True, slots=True)
class WorstRow:
    """A row on which A and B differ most. `distance` is in units of the tolerance."""

    row: int
    distance: float
    inputs: Mapping[str, Any]
    a: Mapping[str, Any]
    b: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Quantile:
    """One quantile of the latency of single requests, in seconds, and B's as a multiple of A's with its interval."""

    name: str
    a: float
    b: float
    ratio: Interval


@dataclass(frozen=True, slots=True)
class SideFacts:
    """One side: its location, and, if tfsctl knows them, its size, memory and load time."""

    name: str
    model: str
    version: int | None
    directory: Path | None = field(default=None, repr=False)
    size_bytes: int | None = None
    memory_bytes: int | None = None
    load_s: float | None = None


@dataclass(frozen=True, repr=False)
class Comparison:
    """The result of a comparison.

    - `parts`: "" for all rows, then `COLUMN=VALUE` for each slice, the one with the largest loss first.
    - `unstable`: rows for which A does not agree with itself; they say nothing about B and are not counted.
    - `outputs`: output -> statistics (see `OutputDifference.summary`).
    """

    a: SideFacts
    b: SideFacts
    rows: int
    unstable: int
    parts: Mapping[str, Part]
    outputs: Mapping[str, Mapping[str, Any]]
    worst: Sequence[WorstRow] = ()
    changes: Sequence[Change] = ()
    flips: Flips | None = None
    calibration: tuple[Calibration, Calibration] | None = None
    latency: Sequence[Quantile] = ()
    skipped: int = 0
    gates: list[GateResult] = field(default_factory=list)

    @property
    def agreement(self) -> float:
        """The share of stable rows whose outputs all agree."""
        return self.parts[ALL_ROWS].agreement

    @property
    def passed(self) -> bool:
        """Whether every gate passed; an undecided gate has not."""
        return all(gate.outcome == "passed" for gate in self.gates)

    def numbers(self) -> dict[str, dict[str, float]]:
        """Slice -> name -> value. Names are `agreement`, `accuracy.a`, `accuracy.delta`, `p99.ratio`, `score.max_abs`  and so on."""
        found = {name: _part_numbers(part) for name, part in self.parts.items()}
        whole = found[ALL_ROWS]
        for output, statistics in self.outputs.items():
            whole |= {f"{output}.{name}": float(value) for name, value in statistics.items() if name != "kind"}
        for quantile in self.latency:
            ratio = quantile.b / quantile.a if quantile.a else math.nan
            whole |= {
                f"{quantile.name}.a": quantile.a,
                f"{quantile.name}.b": quantile.b,
                f"{quantile.name}.ratio": ratio,
            }
        for name in ("size_bytes", "memory_bytes", "load_s"):
            of_a, of_b = getattr(self.a, name), getattr(self.b, name)
            if of_a and of_b is not None:
                whole[f"{name.partition('_')[0]}.ratio"] = of_b / of_a
        return found

    def counts(self) -> dict[str, int]:
        """Slice -> rows."""
        return {name: part.rows for name, part in self.parts.items()}

    def __repr__(self) -> str:
        return f"<Comparison {self.a.name} and {self.b.name}: {self.agreement:.2%} of {self.rows:,} rows agree>"

    def to_frame(self) -> pd.DataFrame:
        """One row for all rows and one for each slice: its rows, agreement, and the metrics. Needs pandas."""
        import pandas as pd

        numbers = self.numbers()
        names = list(_part_numbers(self.parts[ALL_ROWS]))
        rows = [
            {"rows": part.rows, **{name: numbers[key].get(name) for name in names}} for key, part in self.parts.items()
        ]
        return pd.DataFrame(rows, index=[key or "all" for key in self.parts])

    def document(self) -> dict[str, Any]:
        """The comparison as JSON values; see docs/reference.md for its keys."""
        return {
            "a": _facts(self.a),
            "b": _facts(self.b),
            "rows": self.rows,
            "skipped": self.skipped,
            "unstable": self.unstable,
            "agreement": self.agreement,
            "changes": [{"signature": one.signature, "what": one.what, "breaks": one.breaks} for one in self.changes],
            "outputs": {name: dict(statistics) for name, statistics in self.outputs.items()},
            "metrics": [_metric(one) for one in self.parts[ALL_ROWS].metrics],
            "flips": None if self.flips is None else vars_of(self.flips),
            "calibration": None if self.calibration is None else [vars_of(one) for one in self.calibration],
            "slices": [
                {
                    "slice": name,
                    "rows": part.rows,
                    "agreement": part.agreement,
                    "metrics": [*map(_metric, part.metrics)],
                }
                for name, part in self.parts.items()
                if name != ALL_ROWS
            ],
            "latency": [{"name": one.name, "a": one.a, "b": one.b, "ratio": list(one.ratio)} for one in self.latency],
            "worst": [
                {"row": one.row, "distance": one.distance, "inputs": one.inputs, "a": one.a, "b": one.b}
                for one in self.worst
            ],
            "gates": [vars_of(one) for one in self.gates],
            "passed": self.passed,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Comparison:
        """Read what `document` returned. Raises KeyError or TypeError for any other document.

        The directories of the sides are not in it.
        """
        whole = Part(document["rows"], document["agreement"], [*map(_metric_from, document["metrics"])])
        parts = {
            one["slice"]: Part(one["rows"], one["agreement"], [*map(_metric_from, one["metrics"])])
            for one in document["slices"]
        }
        calibration = document["calibration"]
        return cls(
            a=SideFacts(**document["a"]),
            b=SideFacts(**document["b"]),
            rows=document["rows"],
            unstable=document["unstable"],
            parts={ALL_ROWS: whole, **parts},
            outputs=document["outputs"],
            worst=[WorstRow(**one) for one in document["worst"]],
            changes=[Change(**one) for one in document["changes"]],
            flips=None if document["flips"] is None else Flips(**document["flips"]),
            calibration=None
            if calibration is None
            else (_calibration_from(calibration[0]), _calibration_from(calibration[1])),
            latency=[Quantile(one["name"], one["a"], one["b"], Interval(*one["ratio"])) for one in document["latency"]],
            skipped=document["skipped"],
            gates=[GateResult(**one) for one in document["gates"]],
        )


def vars_of(value: DataclassInstance) -> dict[str, Any]:
    """The fields of a dataclass with slots."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _facts(side: SideFacts) -> dict[str, Any]:
    return {name: value for name, value in vars_of(side).items() if name != "directory"}


def _metric(one: Metric) -> dict[str, Any]:
    return {"name": one.name, "a": one.a, "b": one.b, "delta": one.delta, "interval": list(one.interval)}


def _metric_from(document: Mapping[str, Any]) -> Metric:
    return Metric(document["name"], document["a"], document["b"], Interval(*document["interval"]))


def _calibration_from(document: Mapping[str, Any]) -> Calibration:
    return Calibration(document["error"], tuple((rows, mean, share) for rows, mean, share in document["bins"]))


def _part_numbers(part: Part) -> dict[str, float]:
    found = {"agreement": part.agreement}
    for one in part.metrics:
        found |= {f"{one.name}.a": one.a, f"{one.name}.b": one.b, f"{one.name}.delta": one.delta}
    return found
