"""Summaries of the values of one input, in the training data and in a recording, and how far they are apart.

The population stability index (PSI) compares the shares p and q of the values in bins: the sum of (p - q) ln(p / q).
Rules of thumb call values above 0.1 a shift, and above 0.25 a large one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

ValueKind = Literal["number", "category", "text"]

MAX_VALUES = 1_000_000  # of an input that are kept for the bins; more are sampled
MAX_VOCABULARY = 10_000  # values of an input with more different ones are text
_MIN_REPEATS = 2  # text whose values occur at least this often on average is a category
_BINS = 10
_TOP_CATEGORIES = 50
_SMOOTHING = 0.5  # added to the count of each bin, so that no share is 0


@dataclass(slots=True)
class ValueSummary:
    """The values of one input on one side. NaN counts as missing. Of text, the lengths in bytes are kept as numbers."""

    is_text: bool
    count: int = 0
    missing: int = 0
    low: float = math.inf
    high: float = -math.inf
    vocabulary: Counter[bytes] | None = field(default_factory=Counter)
    _numbers: list[np.ndarray] = field(default_factory=list)
    _kept: int = 0
    _rate: float = 1.0
    _random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def add_missing(self, count: int) -> None:
        """Count rows without the input."""
        self.count += count
        self.missing += count

    def add(self, values: np.ndarray) -> None:
        """Add values: an array of numbers, or an object array of bytes."""
        flat = values.ravel()
        self.count += len(flat)
        if self.is_text:
            texts = [bytes(one) for one in flat.tolist()]
            self._add_to_vocabulary(texts)
            numbers = np.fromiter(map(len, texts), float, len(texts))
        else:
            numbers = flat.astype(float)
            numbers = numbers[~np.isnan(numbers)]
            self.missing += len(flat) - len(numbers)
        if len(numbers):
            self.low, self.high = min(self.low, float(numbers.min())), max(self.high, float(numbers.max()))
            self._keep(numbers)

    def _add_to_vocabulary(self, texts: Iterable[bytes]) -> None:
        if self.vocabulary is not None:
            self.vocabulary.update(texts)
            if len(self.vocabulary) > MAX_VOCABULARY:
                self.vocabulary = None

    def _keep(self, numbers: np.ndarray) -> None:
        if self._rate < 1:
            numbers = numbers[self._random.random(len(numbers)) < self._rate]
        self._numbers.append(numbers)
        self._kept += len(numbers)
        while self._kept > MAX_VALUES:
            everything = self.numbers()
            half = everything[self._random.random(len(everything)) < 1 / 2]
            self._numbers, self._kept, self._rate = [half], len(half), self._rate / 2

    def numbers(self) -> np.ndarray:
        """The numbers, or a uniform sample of them."""
        return np.concatenate(self._numbers) if self._numbers else np.empty(0)

    @property
    def kind(self) -> ValueKind:
        """Whether the values are numbers, categories (text that repeats), or other text."""
        if not self.is_text:
            return "number"
        present = self.count - self.missing
        if self.vocabulary is None or len(self.vocabulary) * _MIN_REPEATS > present:
            return "text"
        return "category"

    @property
    def missing_share(self) -> float:
        """The share of missing values; NaN without values."""
        return self.missing / self.count if self.count else math.nan


def out_of_range(training: ValueSummary, recorded: ValueSummary) -> float:
    """The share of the recorded numbers outside of the range of the training data; of text, of the lengths."""
    numbers = recorded.numbers()
    if training.kind == "category" or not len(numbers) or training.low > training.high:
        return math.nan
    return float(((numbers < training.low) | (numbers > training.high)).mean())


def out_of_vocabulary(training: ValueSummary, recorded: ValueSummary) -> float:
    """The share of the recorded values that are not among those of the training data; NaN except for categories."""
    known, seen = training.vocabulary, recorded.vocabulary
    present = recorded.count - recorded.missing
    if training.kind != "category" or known is None or not present:
        return math.nan
    if seen is None:  # more different values than the training data can have
        return 1.0 - len(known) / MAX_VOCABULARY
    return sum(count for value, count in seen.items() if value not in known) / present


def stability_index(training: ValueSummary, recorded: ValueSummary) -> float:
    """The population stability index; missing values have a separate bin. NaN if one side has no values."""
    if not training.count or not recorded.count:
        return math.nan
    if training.kind == "category" and training.vocabulary is not None and recorded.vocabulary is not None:
        top = [value for value, _ in training.vocabulary.most_common(_TOP_CATEGORIES)]
        before, after = _category_counts(training, top), _category_counts(recorded, top)
    else:
        numbers = training.numbers()
        if not len(numbers):
            return math.nan
        edges = np.unique(np.quantile(numbers, np.linspace(0, 1, _BINS + 1)[1:-1]))
        before, after = _bin_counts(training, edges), _bin_counts(recorded, edges)
    used = (before + after) > 0
    p, q = _shares(before[used]), _shares(after[used])
    return float(((q - p) * np.log(q / p)).sum())


def _shares(counts: np.ndarray) -> np.ndarray:
    smoothed = counts + _SMOOTHING
    shares: np.ndarray = smoothed / smoothed.sum()
    return shares


def _category_counts(side: ValueSummary, top: list[bytes]) -> np.ndarray:
    vocabulary = side.vocabulary or Counter()
    counts = [vocabulary[value] for value in top]
    return np.array([*counts, sum(vocabulary.values()) - sum(counts), side.missing], float)


def _bin_counts(side: ValueSummary, edges: np.ndarray) -> np.ndarray:
    numbers = side.numbers()
    counts = np.bincount(np.searchsorted(edges, numbers, side="left"), minlength=len(edges) + 1).astype(float)
    present = side.count - side.missing
    if len(numbers):
        counts *= present / len(numbers)
    return np.array([*counts, side.missing], float)
