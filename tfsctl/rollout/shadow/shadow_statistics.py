"""The findings of a shadow: its counts, the evidence of the gate, and the comparison, in bounded memory.

Threads may add samples at the same time.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from tfsctl.core import compatibility
from tfsctl.core.batches import NamedArrays
from tfsctl.core.types import ModelMetadata
from tfsctl.rollout.comparison import latency
from tfsctl.rollout.comparison.comparison_builder import NOISE_ROWS, ComparisonBuilder
from tfsctl.rollout.comparison.output_difference import Tolerance
from tfsctl.rollout.comparison.result import Comparison, SideFacts
from tfsctl.rollout.gate.agreement import AgreementTest
from tfsctl.rollout.shadow.shadow_state import ShadowPlan, ShadowProgress

LATENCIES = 1000  # pairs that are kept: the latest


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to one request: of A, of A again (None if it was not sent again) and of B; latencies in seconds."""

    inputs: NamedArrays
    a: NamedArrays
    b: NamedArrays
    again: NamedArrays | None
    a_s: float
    b_s: float


class ShadowStatistics:
    """The statistics of one shadow."""

    def __init__(self, plan: ShadowPlan, from_version: int, shadow: str, before: ShadowProgress | None = None) -> None:
        """Continue the counts of `before`, which an earlier collector of this shadow wrote. Its rows are not kept."""
        self._plan, self._from_version = plan, from_version
        self._progress = before or ShadowProgress(shadow)
        self._builder = ComparisonBuilder(Tolerance(plan.atol, plan.rtol))
        self._latencies: deque[tuple[float, float]] = deque(maxlen=LATENCIES)
        limit = None if plan.min_agreement is None else 1 - plan.min_agreement
        self._test = None if limit is None else AgreementTest(limit, self._progress.log_values)
        self._lock = threading.Lock()
        self._has_unstable_rows = False

    @property
    def is_full(self) -> bool:
        """Whether `max_rows` of the plan are compared."""
        return self._progress.rows >= self._plan.max_rows

    @property
    def compared_rows(self) -> int:
        """The rows of the comparison: those that this collector has received."""
        return self._builder.rows

    @property
    def needs_second_answer(self) -> bool:
        """Whether A has to answer the next request twice: it is not known yet that it agrees with itself."""
        return self._has_unstable_rows or self._builder.rows < NOISE_ROWS

    def count(self, *, copies: int = 0, dropped: int = 0, skipped: int = 0, a_failures: int = 0) -> None:
        """Count requests that are not compared."""
        with self._lock:
            was = self._progress
            self._progress = replace(
                was,
                copies=was.copies + copies,
                dropped=was.dropped + dropped,
                skipped=was.skipped + skipped,
                a_failures=was.a_failures + a_failures,
            )

    def add_failure_of_b(self) -> None:
        """Add a sample that only A has answered: all of its rows disagree."""
        with self._lock:
            self._progress = replace(self._progress, b_failures=self._progress.b_failures + 1)
            self._add_sample(1.0)

    def add(self, answers: Answers) -> None:
        """Add the answers to one request. Rows on which A disagrees with itself say nothing about B."""
        inputs, a, b, again = _rows_of(answers)
        count = len(next(iter(a.values())))
        with self._lock:
            numbers = np.arange(self._builder.rows + 1, self._builder.rows + count + 1)
            agree, stable = self._builder.add(numbers, inputs, a, b, {}, again=again)
            self._has_unstable_rows |= not stable.all()
            self._latencies.append((answers.a_s, answers.b_s))
            self._progress = replace(self._progress, rows=self._progress.rows + count)
            if stable.any():
                self._add_sample(float((~agree[stable]).mean()))

    def _add_sample(self, disagreeing: float) -> None:
        was = self._progress
        self._progress = replace(was, samples=was.samples + 1, disagreeing=was.disagreeing + disagreeing)
        if self._test is not None:
            self._test.add(disagreeing)

    def progress(self) -> ShadowProgress:
        """The counts, with the next heartbeat."""
        with self._lock:
            self._progress = replace(self._progress, beat=self._progress.beat + 1)
            if self._test is not None:
                evidence, values = self._test.log_evidence, tuple(self._test.log_values)
                self._progress = replace(self._progress, log_evidence=evidence, log_values=values)
            return self._progress

    def comparison(self, a: ModelMetadata, b: ModelMetadata) -> Comparison:
        """The comparison of all rows that this collector has received."""
        pairs = np.array(list(self._latencies)).reshape(-1, 2)
        with self._lock:
            return self._builder.build(
                self._facts(self._from_version),
                self._facts(self._plan.version),
                changes=compatibility.compare_signatures(a.signatures, b.signatures),
                latency=latency.quantiles(pairs[:, 0], pairs[:, 1]),
            )

    def _facts(self, version: int) -> SideFacts:
        return SideFacts(f"{self._plan.model}@{version}", self._plan.model, version)


def _rows_of(answers: Answers) -> tuple[NamedArrays, NamedArrays, NamedArrays, NamedArrays | None]:
    """Inputs and answers with one item per row. A request without a batch dimension in all of them is one row."""
    groups = (answers.inputs, answers.a, answers.b, answers.again or {})
    counts = {array.shape[0] if array.ndim else -1 for group in groups for array in group.values()}
    if counts == {-1} or len(counts) > 1 or counts == {0}:
        inputs, a, b, again = ({name: array[np.newaxis] for name, array in group.items()} for group in groups)
        return inputs, a, b, again if answers.again is not None else None
    return answers.inputs, answers.a, answers.b, answers.again
