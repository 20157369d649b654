"""`tfsctl skew`: its numbers against values worked out by hand, its table and its thresholds."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tfrecords
from cli_runner import RunCli

from tfsctl.core import protos, tensors
from tfsctl.core.arrays import object_array
from tfsctl.rollout.recording import value_summary
from tfsctl.rollout.recording.value_summary import ValueSummary, out_of_range, out_of_vocabulary, stability_index


def numbers(*values: float) -> ValueSummary:
    """A summary of numbers."""
    summary = ValueSummary(is_text=False)
    summary.add(np.array(values, np.float32))
    return summary


def texts(*values: str) -> ValueSummary:
    """A summary of texts."""
    summary = ValueSummary(is_text=True)
    summary.add(object_array([value.encode() for value in values]))
    return summary


def test_stability_index_of_categories() -> None:
    """The sum of (q - p) ln(q / p), with half a count added to each bin that is used."""
    training, recorded = texts(*"aaab" * 25), texts(*"ab" * 50)
    p, q = np.array([75.5, 25.5]) / 101, np.array([50.5, 50.5]) / 101
    assert stability_index(training, recorded) == pytest.approx(float(((q - p) * np.log(q / p)).sum()))
    assert stability_index(training, training) == 0


def test_stability_index_of_numbers() -> None:
    """Over the deciles of the training data. A shift of one decile leaves one bin empty."""
    training = numbers(*range(100))
    assert stability_index(training, training) == 0
    recorded = numbers(*range(50, 150))
    p, q = np.full(10, 10.5) / 105, np.array([0.5] * 5 + [10.5] * 4 + [60.5]) / 105
    assert stability_index(training, recorded) == pytest.approx(float(((q - p) * np.log(q / p)).sum()), rel=1e-6)
    missing = numbers(*[math.nan] * 50, *range(50))
    assert missing.missing_share == 0.5
    assert stability_index(training, missing) > 1


def test_shares_out_of_range_and_vocabulary_are_nan_where_undefined() -> None:
    """Shares of the recorded values; NaN where they mean nothing."""
    assert out_of_range(numbers(0, 10), numbers(-1, 0, 5, 10, 11)) == pytest.approx(0.4)
    assert math.isnan(out_of_vocabulary(numbers(0, 10), numbers(1)))
    assert out_of_vocabulary(texts(*"aabb"), texts(*"abcd")) == 0.5
    assert math.isnan(out_of_range(texts(*"aabb"), texts("ccc")))
    free = texts("one", "three")
    assert free.kind == "text"
    assert out_of_range(free, texts("a", "four", "sevenths")) == pytest.approx(2 / 3)
    assert math.isnan(stability_index(numbers(), numbers(1)))


def test_many_values_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory stays bounded, and the shares stay about the same."""
    monkeypatch.setattr(value_summary, "MAX_VALUES", 1000)
    summary = ValueSummary(is_text=False)
    for start in range(0, 100_000, 100):
        summary.add(np.arange(start, start + 100))
    kept = summary.numbers()
    assert (summary.count, summary.low, summary.high) == (100_000, 0, 99_999)
    assert 300 <= len(kept) <= 1000
    assert kept.mean() == pytest.approx(50_000, rel=0.15)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """50 requests of 2 rows: ages 50 to 149, the country CH, and in one request no age."""
    records = []
    for number in range(50):
        log = protos.PredictionLog()
        inputs = log.predict_log.request.inputs
        inputs["country"].CopyFrom(tensors.to_proto(object_array([b"CH", b"XX" if number == 0 else b"CH"])))
        ages = np.array([[50 + 2 * number], [51 + 2 * number]], np.float32)
        if number:
            inputs["age"].CopyFrom(tensors.to_proto(ages))
        records.append(log.SerializeToString())
    tfrecords.write_records(tmp_path / "recording" / "m-1.tfrecord", records)
    return tmp_path / "recording"


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """100 rows: ages 0 to 99, and two countries."""
    lines = [f"{age},{('CH', 'DE')[age % 2]},{age}" for age in range(100)]
    (tmp_path / "train.csv").write_text("\n".join(["age,country,label", *lines]) + "\n")
    return tmp_path / "train.csv"


def test_skew_has_a_line_for_each_input(recording: Path, training: Path, run_cli: RunCli) -> None:
    """A line for each input; the label is not one."""
    result = run_cli("skew", recording, training, "--json")
    document = json.loads(result.stdout)

    assert result.code == 0, result.stderr
    assert (document["recorded_rows"], document["training_rows"], document["passed"]) == (100, 100, True)
    age, country = document["inputs"]
    assert (age["input"], age["kind"], age["missing"], age["out_of_vocabulary"]) == ("age", "number", 0.02, None)
    assert age["out_of_range"] == pytest.approx(50 / 98)
    assert age["psi"] > 1
    assert (country["kind"], country["out_of_vocabulary"], country["out_of_range"]) == ("category", 0.01, None)
    printed = run_cli("skew", recording, training)
    assert printed.stdout.splitlines()[1].startswith("country\tcategory\t0.00%\t0.00%\t-\t1.00%\t")


def test_a_crossed_or_undecided_threshold_ends_with_7(recording: Path, training: Path, run_cli: RunCli) -> None:
    """Of the worst input, or of one; exit code 7 if one is crossed or undecided."""
    crossed = run_cli("skew", recording, training, "--fail-if", "psi>0.2", "--fail-if", "missing@age>0.5")
    assert crossed.code == 7
    assert "failed" in crossed.stdout
    assert run_cli("skew", recording, training, "--fail-if", "missing>0.5").code == 0
    assert run_cli("skew", recording, training, "--fail-if", "missing>0.5", "--min-rows", "1000").code == 7
    assert run_cli("skew", recording, training, "--ignore", "age", "--fail-if", "out_of_range>0").code == 7  # undecided


def test_each_error_has_a_hint(recording: Path, training: Path, run_cli: RunCli) -> None:
    """Each names the thing, and what to do."""
    for arguments, code, words in (
        (["--signature", "other"], 2, "has no request for the signature other"),
        (["--ignore", "agee"], 4, "the recording has no input 'agee'"),
        (["--format", "xls"], 2, "there is no format 'xls'"),
        (["--fail-if", "psi@agee>1"], 2, "there is no slice 'agee'"),
        (["--column", "age=years"], 2, "has no column 'years'"),
    ):
        result = run_cli("skew", recording, training, *arguments)
        assert (result.code, words in result.stderr) == (code, True), result.stderr
    assert run_cli("skew", training.parent / "nope", training).code == 4
