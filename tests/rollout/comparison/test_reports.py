"""The reports of a comparison: JUnit XML, the HTML page, the JSON document, and the numbers for thresholds."""

from __future__ import annotations

import json
import math
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from comparison_results import HOSTILE, full_comparison

from tfsctl.rollout.comparison import latency
from tfsctl.rollout.comparison.html_report import html_report
from tfsctl.rollout.comparison.junit import junit_xml
from tfsctl.rollout.comparison.result import Comparison


@pytest.fixture
def comparison() -> Comparison:
    """One with everything in it, and a name that would run a script."""
    return full_comparison()


def test_thresholds_can_name_every_number_of_a_comparison(comparison: Comparison) -> None:
    """Thresholds can name the agreement, metrics, outputs, latencies and sizes; metrics in slices too."""
    numbers = comparison.numbers()

    assert numbers[""]["p99.ratio"] == pytest.approx(2.0)
    assert numbers[""]["size.ratio"] == 3.0
    assert numbers[""]["y.max_abs"] == pytest.approx(0.1)
    assert {"agreement", "auc.delta", "log_loss.b"} <= numbers["c=CH"].keys()
    assert comparison.counts()["c=CH"] == 100
    assert [gate.outcome for gate in comparison.gates] == ["failed", "passed", "passed"]
    assert not comparison.passed


def test_latency_ratio_of_a_slower_version_is_the_same_in_every_resample() -> None:
    """B takes twice as long, in every quantile and in every resample of the pairs."""
    times = np.random.default_rng(1).random(50)
    for one in latency.quantiles(times, 2 * times):
        assert one.b / one.a == pytest.approx(2.0)
        assert one.ratio == pytest.approx((2.0, 2.0))
    assert latency.quantiles(np.empty(0), np.empty(0)) == []


def test_the_order_within_pairs_alternates() -> None:
    """A goes first in every second pair only."""
    order: list[str] = []
    pair = (lambda: order.append("a"), lambda: order.append("b"))
    latency.interleave([pair] * 3)

    assert "".join(order) == "abbaab"


def test_junit_has_one_case_for_each_threshold(comparison: Comparison) -> None:
    """One case per threshold, those that failed with a message. Control characters do not break the document."""
    suite = ET.fromstring(junit_xml(comparison))  # noqa: S314 - our own document

    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    assert [case.get("name") for case in suite] == [f"--fail-if {gate.gate}" for gate in comparison.gates]
    failure = suite[0].find("failure")
    assert failure is not None
    assert failure.get("type") == "failed"
    assert "agreement<0.9" in (failure.get("message") or "")


def test_html_escapes_text_and_loads_nothing(comparison: Comparison) -> None:
    """Text from outside is escaped, and nothing is loaded from anywhere."""
    page = html_report(comparison)

    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page
    assert page.count("<svg") == 3
    assert "nan" not in page.lower().replace("nan_changes", "")


def test_json_has_plain_values_only(comparison: Comparison) -> None:
    """The document has plain values only."""
    document = json.loads(json.dumps(comparison.document()))

    assert document["agreement"] == comparison.agreement
    assert [one["outcome"] for one in document["gates"]] == ["failed", "passed", "passed"]
    assert {one["slice"] for one in document["slices"]} == {"c=CH", f"c={HOSTILE}"}
    assert not any(math.isnan(one["a"]) for one in document["metrics"])
