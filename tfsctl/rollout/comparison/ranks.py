"""Ranks with ties, and the two statistics that are built on them: Spearman's correlation and the area under the ROC curve."""

from __future__ import annotations

import math

import numpy as np


def average_ranks(values: np.ndarray) -> np.ndarray:
    """The rank (from 1) of each value of a vector, float64; equal values share the mean of their ranks."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    is_first = np.ones(len(values), bool)  # of the values that are equal
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    del ordered  # a million rows are compared in 300 MB
    ranks = np.empty(len(values))
    if is_first.all():
        ranks[order] = np.arange(1, len(values) + 1)
        return ranks
    starts = np.flatnonzero(is_first)
    ends = np.append(starts[1:], len(values))
    ranks[order] = np.repeat((starts + ends + 1) / 2, ends - starts)
    return ranks


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two vectors; NaN if one of them is constant or shorter than 2."""
    if len(a) < 2:
        return math.nan
    ranks_a, ranks_b = average_ranks(a), average_ranks(b)
    ranks_a -= ranks_a.mean()
    ranks_b -= ranks_b.mean()
    spread = math.sqrt(float(ranks_a @ ranks_a) * float(ranks_b @ ranks_b))
    return float(ranks_a @ ranks_b) / spread if spread else math.nan


def roc_auc(is_positive: np.ndarray, score: np.ndarray) -> float:
    """The area under the ROC curve; NaN unless both classes occur. Ties count half."""
    positives = int(is_positive.sum())
    negatives = len(is_positive) - positives
    if not positives or not negatives:
        return math.nan
    rank_sum = float(average_ranks(score)[is_positive].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def roc_auc_difference_error(is_positive: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """The standard error of AUC(b) - AUC(a) on the same rows.

    Method: DeLong, DeLong and Clarke-Pearson (1988), with the ranks of Sun and Xu (2014).
    """
    parts = [_placements(is_positive, score) for score in (a, b)]
    variance = 0.0
    for placement_a, placement_b in zip(*parts, strict=True):
        if len(placement_a) < 2:
            return math.nan
        variance += float(np.var(placement_b - placement_a, ddof=1)) / len(placement_a)
    return math.sqrt(variance)


def _placements(is_positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each positive the share of negatives below it, and for each negative the share of positives above it."""
    positive, negative = score[is_positive], score[~is_positive]
    ranks = average_ranks(score)
    below = (ranks[is_positive] - average_ranks(positive)) / max(len(negative), 1)
    above = 1 - (ranks[~is_positive] - average_ranks(negative)) / max(len(positive), 1)
    return below, above
