"""How good A and B are on rows whose right answer is known: accuracy, log loss, AUC, Brier score, errors, calibration.

Formulas: those of scikit-learn's metrics, which the tests compare with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tfsctl.errors import InvalidInput
from tfsctl.rollout.comparison import ranks
from tfsctl.rollout.comparison.intervals import Interval, mcnemar, normal_interval, paired_bootstrap

Task = Literal["binary", "multiclass", "regression"]
HIGHER_IS_BETTER = {"accuracy": True, "auc": True, "log_loss": False, "brier": False, "mse": False, "mae": False}
CALIBRATION_BINS = 10


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of A and of B. `delta` is B - A, with its 95 % interval."""

    name: str
    a: float
    b: float
    interval: Interval

    @property
    def delta(self) -> float:
        """B - A."""
        return self.b - self.a

    @property
    def harm(self) -> float:
        """How much worse B is: positive if it is worse, whichever way the metric counts."""
        return -self.delta if HIGHER_IS_BETTER[self.name] else self.delta


@dataclass(frozen=True, slots=True)
class Calibration:
    """The expected calibration error, and for each bin of predicted probability: rows, mean probability, share right."""

    error: float
    bins: tuple[tuple[int, float, float], ...]


@dataclass(frozen=True, slots=True)
class Flips:
    """Rows that only one side got right, and McNemar's p-value for both sides being equally good."""

    only_a: int
    only_b: int
    p_value: float


@dataclass
class Losses:
    """The values kept for each row of one side: vectors of equal length, filled batch by batch.

    - `terms`: metric -> its value for each row (float32); the metric is their mean.
    - `score`: binary only: the probability of the positive class (float64).
    - `confidence`: the probability given to the chosen class (float32).
    """

    terms: dict[str, list[np.ndarray]] = field(default_factory=dict)
    score: list[np.ndarray] = field(default_factory=list)
    confidence: list[np.ndarray] = field(default_factory=list)

    def add(self, task: Task, target: np.ndarray, output: np.ndarray) -> None:
        """Add a batch: `target` [rows], `output` [rows], [rows, 1] or [rows, classes].

        Raises InvalidInput if the output does not fit the task, or a class number is out of range.
        """
        if task == "regression":
            terms = _regression_terms(target, output)
        elif task == "binary":
            probability = _positive_probability(output)
            terms = _binary_terms(target, probability)
            self.score.append(probability)
            self.confidence.append(np.maximum(probability, 1 - probability).astype(np.float32))
        else:
            terms = _multiclass_terms(target, output)
            self.confidence.append(output.max(axis=1).astype(np.float32))
        for name, values in terms.items():
            self.terms.setdefault(name, []).append(values.astype(np.float32))

    def term(self, name: str) -> np.ndarray:
        """The values of one metric for all rows."""
        if len(self.terms[name]) > 1:
            self.terms[name] = [np.concatenate(self.terms[name])]
        return self.terms[name][0]


def metrics(task: Task, a: Losses, b: Losses, target: np.ndarray, rows: np.ndarray | None = None) -> list[Metric]:
    """All metrics of a task on the given rows (a boolean vector; default: all). Empty if there are no rows."""
    chosen = slice(None) if rows is None else rows
    found = []
    for name in a.terms:
        of_a, of_b = a.term(name)[chosen], b.term(name)[chosen]
        if not len(of_a):
            return []
        mean_a, mean_b = (float(values.mean(dtype=np.float64)) for values in (of_a, of_b))
        found.append(Metric(name, mean_a, mean_b, paired_bootstrap(np.subtract(of_b, of_a, dtype=np.float64))))
    if task == "binary":
        positive = target[chosen] > 0.5
        scores = [np.concatenate(side.score)[chosen] for side in (a, b)]
        auc_a, auc_b = (ranks.roc_auc(positive, score) for score in scores)
        error = ranks.roc_auc_difference_error(positive, *scores) if not math.isnan(auc_a) else math.nan
        found.append(Metric("auc", auc_a, auc_b, normal_interval(auc_b - auc_a, error)))
    return found


def flips(a: Losses, b: Losses) -> Flips:
    """The rows that only one side classified correctly."""
    right_a, right_b = a.term("accuracy") > 0, b.term("accuracy") > 0
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    return Flips(only_a, only_b, mcnemar(only_a, only_b))


def calibration(side: Losses) -> Calibration:
    """The expected calibration error of the chosen classes, with ten bins of equal width."""
    confidence, right = np.concatenate(side.confidence), side.term("accuracy")
    numbers = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    bins, error = [], 0.0
    for number in range(CALIBRATION_BINS):
        within = numbers == number
        if count := int(within.sum()):
            mean, share = float(confidence[within].mean()), float(right[within].mean())
            bins.append((count, mean, share))
            error += count / len(confidence) * abs(mean - share)
    return Calibration(error, tuple(bins))


def _regression_terms(target: np.ndarray, output: np.ndarray) -> dict[str, np.ndarray]:
    values = _one_per_row(output, "regression")
    return {"mse": (values - target) ** 2, "mae": np.abs(values - target)}


def _positive_probability(output: np.ndarray) -> np.ndarray:
    """The probability of class 1: the score itself, or the second of two scores."""
    if output.ndim == 2 and output.shape[1] == 2:
        output = output[:, 1]
    probability = _one_per_row(output, "binary")
    if np.any((probability < 0) | (probability > 1)):
        raise InvalidInput("--task binary needs scores between 0 and 1", hint="--task regression takes any number")
    return probability


def _binary_terms(target: np.ndarray, probability: np.ndarray) -> dict[str, np.ndarray]:
    if np.any((target != 0) & (target != 1)):
        raise InvalidInput("--task binary needs targets 0 and 1", hint="--task multiclass takes class numbers")
    right = (probability >= 0.5) == (target == 1)
    chosen = np.where(target == 1, probability, 1 - probability)
    return {"accuracy": right, "log_loss": _log_loss(chosen), "brier": (probability - target) ** 2}


def _multiclass_terms(target: np.ndarray, output: np.ndarray) -> dict[str, np.ndarray]:
    if output.ndim != 2 or output.shape[1] < 2:
        raise InvalidInput(f"--task multiclass needs one score per class, not shape {list(output.shape)}")
    classes = target.astype(np.int64)
    if np.any((classes != target) | (classes < 0) | (classes >= output.shape[1])):
        raise InvalidInput(f"a target is not a class number from 0 to {output.shape[1] - 1}")
    scores = output.astype(np.float64)
    chosen = scores[np.arange(len(scores)), classes]
    brier = (scores**2).sum(axis=1) - 2 * chosen + 1
    return {"accuracy": scores.argmax(axis=1) == classes, "log_loss": _log_loss(chosen), "brier": brier}


def _log_loss(probability: np.ndarray) -> np.ndarray:
    smallest = np.finfo(np.float64).eps
    return -np.log(np.clip(probability, smallest, 1 - smallest))


def _one_per_row(output: np.ndarray, task: str) -> np.ndarray:
    if output.size != len(output):
        raise InvalidInput(f"--task {task} needs one number per row, not shape {list(output.shape)}")
    return output.reshape(-1).astype(np.float64)
