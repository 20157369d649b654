"""What a shadow counts: agreement, failures, rows, and what survives its collector and its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfsctl.core.types import ModelMetadata
from tfsctl.rollout.gate.agreement import AgreementTest
from tfsctl.rollout.shadow.collector_files import CollectorFiles
from tfsctl.rollout.shadow.shadow_state import ShadowPlan, ShadowProgress
from tfsctl.rollout.shadow.shadow_statistics import LATENCIES, Answers, ShadowStatistics

PLAN = ShadowPlan("m", 2, 0.1, min_agreement=0.9, max_rows=100)
METADATA = ModelMetadata("m", 1, {})


def answers(a: Any, b: Any, again: Any = None) -> Answers:
    outputs = [None if value is None else {"y": np.array(value, np.float64)} for value in (a, b, again)]
    assert outputs[0] is not None
    assert outputs[1] is not None
    return Answers({"x": np.array(a, np.float64)}, outputs[0], outputs[1], outputs[2], 0.001, 0.002)


@pytest.fixture
def statistics() -> ShadowStatistics:
    return ShadowStatistics(PLAN, 1, "id")


def test_the_agreement_of_rows(statistics: ShadowStatistics) -> None:
    """A request counts by the share of its rows that disagree; the comparison counts rows."""
    statistics.add(answers([1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 3, 4]))
    statistics.add(answers([1], [1], [1]))
    found, comparison = statistics.progress(), statistics.comparison(METADATA, METADATA)
    expected = AgreementTest(0.1)
    for share in (0.25, 0):
        expected.add(share)

    assert (found.samples, found.rows, found.disagreeing) == (2, 5, 0.25)
    assert found.log_evidence == pytest.approx(expected.log_evidence)
    assert (comparison.rows, comparison.agreement) == (5, 0.8)
    assert comparison.latency[0].b == pytest.approx(0.002)
    assert [row.row for row in comparison.worst] == [4]


def test_rows_on_which_a_disagrees_with_itself_are_no_evidence(statistics: ShadowStatistics) -> None:
    """The version that is served is random; from then on each request is sent to it twice."""
    statistics.add(answers([1, 2], [7, 2], [3, 2]))
    statistics.add(answers([1], [7], [3]))
    found = statistics.progress()

    assert (found.samples, found.rows, found.disagreeing) == (1, 3, 0)
    assert statistics.comparison(METADATA, METADATA).unstable == 2
    assert statistics.needs_second_answer


def test_a_failure_of_b_alone_disagrees(statistics: ShadowStatistics) -> None:
    """A failure of B alone is a sample that disagrees; a failure of A says nothing."""
    statistics.add_failure_of_b()
    statistics.count(copies=3, dropped=1, skipped=1, a_failures=1)
    found = statistics.progress()

    assert (found.samples, found.b_failures, found.disagreeing, found.a_failures) == (1, 1, 1, 1)
    assert (found.copies, found.dropped, found.skipped, found.beat) == (3, 1, 1, 1)
    assert found.log_evidence > 0


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), ([1, 2, 3], [1, 2]), ([], [])])
def test_answers_without_a_common_batch_dimension_count_as_one_row(
    statistics: ShadowStatistics, a: Any, b: Any
) -> None:
    """A scalar, different numbers of rows, no rows: the request is one row."""
    statistics.add(answers(a, b))
    found = statistics.progress()

    assert (found.samples, found.rows) == (1, 1)
    assert found.disagreeing == (np.shape(a) != np.shape(b))


def test_memory_is_bounded(statistics: ShadowStatistics) -> None:
    """Only the latest latencies are kept, and the collector ends after `max_rows`."""
    for _ in range(LATENCIES + 10):
        statistics.add(answers([1], [1]))

    assert statistics.is_full
    assert len(statistics._latencies) == LATENCIES


def test_another_collector_continues(statistics: ShadowStatistics, tmp_path: Path) -> None:
    """The counts and the evidence are kept; the rows of the comparison are those of the new one."""
    files = CollectorFiles(tmp_path)
    statistics.add(answers([1], [2], [1]))
    files.write_progress(statistics.progress())
    before = files.read_progress()
    assert before is not None
    again = ShadowStatistics(PLAN, 1, "id", before)
    again.add(answers([1], [2], [1]))
    statistics.add(answers([1], [2], [1]))

    assert again.progress().log_evidence == pytest.approx(statistics.progress().log_evidence)
    assert again.progress().rows == 2
    assert again.compared_rows == 1


def test_the_comparison_survives_its_file(statistics: ShadowStatistics, tmp_path: Path) -> None:
    """Infinite distances included. The report of another shadow is not read."""
    files = CollectorFiles(tmp_path)
    statistics.add(answers([1, 2], [np.nan, 2], [1, 2]))
    comparison = statistics.comparison(METADATA, METADATA)
    files.write_comparison("id", comparison)
    read = files.read_comparison("id")

    assert read is not None
    assert json.dumps(read.document()) == json.dumps(comparison.document())  # NaN is not equal to itself
    assert files.read_comparison("other") is None


def test_missing_files_and_those_of_another_version_are_read_as_none(tmp_path: Path) -> None:
    """None yet, or those of another version of tfsctl."""
    files = CollectorFiles(tmp_path)
    assert files.read_progress() is None
    assert files.read_comparison("id") is None
    for name in ("shadow.json", "shadow-report.json"):
        (tmp_path / name).write_text('{"unknown": 1}')

    assert files.read_progress() is None
    assert files.read_comparison("id") is None
    files.write_progress(ShadowProgress("id", beat=3))
    assert files.read_progress() == ShadowProgress("id", beat=3)
