"""`--fail-if`: what is understood, what fails, and what stays undecided."""

from __future__ import annotations

import math

import pytest

from tfsctl.errors import InvalidInput
from tfsctl.rollout.comparison.gates import Gate, check_gate_columns, check_gates, parse_gate

NUMBERS = {"": {"agreement": 0.97, "p99.ratio": 1.1, "auc.delta": math.nan}, "country=CH": {"accuracy.delta": -0.05}}
ROWS = {"": 1000, "country=CH": 29}


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("agreement<0.98", ("agreement", "", "<", 0.98)),
        (" accuracy.delta < -1e-2 ", ("accuracy.delta", "", "<", -0.01)),
        ("accuracy.delta@country=CH<-0.03", ("accuracy.delta", "country=CH", "<", -0.03)),
        ("accuracy.delta@country=CH,device=tv<=-0.03", ("accuracy.delta", "country=CH,device=tv", "<=", -0.03)),
        ("p99.ratio>=1.3", ("p99.ratio", "", ">=", 1.3)),
    ],
)
def test_a_gate_is_a_metric_a_slice_a_sign_and_a_number(text: str, gate: tuple[str, str, str, float]) -> None:
    """A metric, perhaps a slice, a sign and a number."""
    assert parse_gate(text) == Gate(text.strip(), *gate)


@pytest.mark.parametrize("text", ["", "agreement", "<0.9", "agreement=0.9", "agreement<high", "agreement<nan", "a<1<2"])
def test_the_error_of_an_invalid_gate_shows_a_valid_one(text: str) -> None:
    """The error shows how one is written."""
    with pytest.raises(InvalidInput, match="not a threshold") as error:
        parse_gate(text)
    assert "--fail-if 'agreement<0.98'" in error.value.hint


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("agreement<0.98", "failed"),
        ("agreement<0.97", "passed"),
        ("agreement<=0.97", "failed"),
        ("p99.ratio>1.3", "passed"),
        ("auc.delta<0", "undecided"),
        ("accuracy.delta@country=CH<-0.03", "undecided"),
    ],
)
def test_a_gate_fails_beyond_its_limit_and_is_undecided_on_few_rows(text: str, outcome: str) -> None:
    """A gate fails beyond its limit; on too few rows, or without a value, it is undecided."""
    assert check_gates([parse_gate(text)], NUMBERS, ROWS)[0].outcome == outcome


def test_fewer_rows_may_be_enough() -> None:
    """--min-rows changes when a gate is decided."""
    assert check_gates([parse_gate("accuracy.delta@country=CH<-0.03")], NUMBERS, ROWS, 29)[0].outcome == "failed"


@pytest.mark.parametrize(("text", "words"), [("agrement<1", "metrics: agreement"), ("agreement@x=1<1", "country=CH")])
def test_unknown_metrics_and_slices_are_errors_that_list_the_known_ones(text: str, words: str) -> None:
    """An unknown metric or slice is an error that lists the known ones."""
    with pytest.raises(InvalidInput) as error:
        check_gates([parse_gate(text)], NUMBERS, ROWS)
    assert words in error.value.hint


@pytest.mark.parametrize(
    ("slice_", "slices", "hint"),
    [
        ("contry=CH", [("country",), ("country", "device")], "slices: country=VALUE, country=VALUE,device=VALUE"),
        ("country=CH", [], "slices: none; name the column with --slice"),
        ("country", [("country",)], "slices: country=VALUE"),
        ("a=1", [("a", "b")], "slices: a=VALUE,b=VALUE"),
    ],
)
def test_gates_on_slices_of_other_columns(slice_: str, slices: list[tuple[str, ...]], hint: str) -> None:
    """They are known to be wrong before any row is read."""
    with pytest.raises(InvalidInput, match="there is no slice") as error:
        check_gate_columns([parse_gate(f"agreement@{slice_}<1")], slices)
    assert error.value.hint == hint


def test_gates_on_slices_of_named_columns() -> None:
    """Whether the columns have the values is only known after the last row. A value can have commas and signs."""
    gates = [parse_gate(f"agreement{at}<1") for at in ("", "@country=CH", "@a.b=1,2=3", "@a.b=x,country=CH")]
    check_gate_columns(gates, [("country",), ("a.b",), ("a.b", "country")])
