"""Scores drawn as bars: one for each sigmoid score, one for each class of a softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfsctl.cli import _answers
from tfsctl.core.types import Prediction

if TYPE_CHECKING:
    import numpy as np

WIDTH = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_SUM_TOLERANCE = 1e-3


def chart(prediction: Prediction) -> list[str] | None:
    """A line a score, with its bar; None where the answer is no probability and is better shown as it is."""
    if len(prediction.outputs) != 1:
        return None
    (array,) = prediction.outputs.values()
    if array.dtype.kind != "f" or array.ndim not in (1, 2) or not array.size or not ((array >= 0) & (array <= 1)).all():
        return None
    if array.ndim == 1 or array.shape[1] == 1:
        return _lines(array.ravel(), [""] * array.size)
    if abs(array.sum(axis=1) - 1).max() > _SUM_TOLERANCE:
        return None
    return [line for row in array for line in _lines(row, [f"class {index}  " for index in range(len(row))])]


def bar(share: float, width: int = WIDTH) -> str:
    """A bar as long as `share` (0 to 1) of `width` characters, drawn to an eighth of one, and padded."""
    eighths = round(share * width * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()).ljust(width)


def _lines(scores: np.ndarray, heads: list[str]) -> list[str]:
    texts = [_answers.text(score) for score in scores]
    head_width, text_width = max(map(len, heads)), max(map(len, texts))
    return [
        f"{head:<{head_width}}{text:<{text_width}}  {bar(float(score))} {float(score):4.0%}"
        for head, text, score in zip(heads, texts, scores, strict=True)
    ]
