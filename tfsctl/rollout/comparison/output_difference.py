"""How one output differs between A and B, row by row, in memory of at most 16 bytes per row and scalar output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tfsctl.rollout.comparison import ranks

OutputKind = Literal["numbers", "classes", "text"]
SUM_TOLERANCE = 1e-3  # rows of class scores add up to 1 within this
TOP_K = 5


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Two numbers agree if |b - a| <= atol + rtol * |a|. NaN agrees with NaN, and an infinity with itself."""

    atol: float = 1e-5
    rtol: float = 1e-4


def output_kind(values: np.ndarray) -> OutputKind:
    """Class scores are rows of at least two numbers between 0 and 1 that add up to 1. Strings are text."""
    if values.dtype.kind in "OSU":
        return "text"
    if values.ndim == 2 and values.shape[1] > 1 and values.dtype.kind == "f" and len(values):
        sums = values.sum(axis=1, dtype=np.float64)
        if np.all(values >= 0) and np.all(np.abs(sums - 1) <= SUM_TOLERANCE):
            return "classes"
    return "numbers"


class OutputDifference:
    """Collects the differences of one output, batch by batch."""

    def __init__(self, name: str, kind: OutputKind, tolerance: Tolerance) -> None:
        self.name = name
        self.kind = kind
        self._tolerance = tolerance
        self.rows = 0
        self._elements = 0
        self._compared = 0
        self._within = 0
        self._max_abs = self._sum_abs = self._max_rel = self._sum_rel = 0.0
        self._nan_changes = self._inf_changes = 0
        self._same_top_1 = self._shared_top_k = 0.0
        self._scalars: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Add the rows of one batch, of shape [rows, ...] each.

        Returns for each row whether it agrees (bool), and how far apart it is in units of the tolerance (float64;
        infinity for other shapes, texts or non-finite values).
        """
        self.rows += len(a)
        if a.shape != b.shape:
            self._elements += a.size
            return np.zeros(len(a), bool), np.full(len(a), math.inf)
        if self.kind == "text" or a.dtype.kind in "OSU":
            return self._add_text(a, b)
        if a.ndim == 1 or a.size == len(a):
            self._scalars.append((a.reshape(-1).astype(np.float64), b.reshape(-1).astype(np.float64)))
        distance = self._add_numbers(a.reshape(len(a), -1), b.reshape(len(b), -1))
        if self.kind == "classes":
            return self._add_classes(a, b), distance
        return distance <= 1, distance

    def _add_text(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        same = (a == b).reshape(len(a), -1)
        self._elements += same.size
        self._compared += same.size
        self._within += int(same.sum())
        agree = same.all(axis=1)
        return agree, np.where(agree, 0.0, math.inf)

    def _add_numbers(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        complex_or_float = np.complex128 if a.dtype.kind == "c" or b.dtype.kind == "c" else np.float64
        a, b = a.astype(complex_or_float), b.astype(complex_or_float)
        finite = np.isfinite(a) & np.isfinite(b)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            apart = np.abs(b - a)
            allowed = self._tolerance.atol + self._tolerance.rtol * np.abs(a)
            distance = np.where(same, 0.0, np.where(finite, apart / allowed, math.inf))
            relative = np.where(apart == 0, 0.0, apart / np.abs(a))
        self._elements += a.size
        self._compared += int(finite.sum())
        self._within += int((distance <= 1).sum())
        self._nan_changes += int((np.isnan(a) != np.isnan(b)).sum())
        self._inf_changes += int((~same & (np.isinf(a) | np.isinf(b)) & ~np.isnan(a) & ~np.isnan(b)).sum())
        if finite.any():
            self._max_abs = max(self._max_abs, float(apart[finite].max()))
            self._sum_abs += float(apart[finite].sum())
            has_relative = finite & np.isfinite(relative)
            if has_relative.any():
                self._max_rel = max(self._max_rel, float(relative[has_relative].max()))
                self._sum_rel += float(relative[has_relative].sum())
        return distance.max(axis=1) if distance.shape[1] else np.zeros(len(a))

    def _add_classes(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        same = a.argmax(axis=1) == b.argmax(axis=1)
        self._same_top_1 += int(same.sum())
        k = min(TOP_K, a.shape[1])
        top_a, top_b = (np.argpartition(-values, k - 1, axis=1)[:, :k] for values in (a, b))
        shared = (top_a[:, :, None] == top_b[:, None, :]).any(axis=2).sum(axis=1)
        self._shared_top_k += float(shared.sum()) / k
        return np.asarray(same)

    def scalars(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The values of A and B as float64 vectors, if the output is one number per row."""
        if not self._scalars or sum(len(a) for a, _ in self._scalars) != self.rows:
            return None
        if len(self._scalars) > 1:
            self._scalars = [_joined(self._scalars)]
        return self._scalars[0]

    def summary(self) -> dict[str, Any]:
        """The statistics, by the names that `--fail-if` takes; absent where they have no meaning."""
        found: dict[str, Any] = {"kind": self.kind, "within": self._within / max(self._elements, 1)}
        if self.kind == "text":
            return found
        compared = max(self._compared, 1)
        found |= {"max_abs": self._max_abs, "mean_abs": self._sum_abs / compared}
        found |= {"max_rel": self._max_rel, "mean_rel": self._sum_rel / compared}
        found |= {"nan_changes": self._nan_changes, "inf_changes": self._inf_changes}
        if self.kind == "classes":
            found |= {
                "top_1": self._same_top_1 / max(self.rows, 1),
                f"top_{TOP_K}": self._shared_top_k / max(self.rows, 1),
            }
        if (scalars := self.scalars()) is not None:
            finite = np.isfinite(scalars[0]) & np.isfinite(scalars[1])
            a, b = scalars if finite.all() else (scalars[0][finite], scalars[1][finite])
            found["rank_correlation"] = ranks.spearman(a, b)
        return found


def _joined(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])
