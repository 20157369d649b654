"""Draw scores from 0 to 1 as bars for a terminal: one per row, or one per class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import SupportsFloat

from tfsctl.cli.output import value_text
from tfsctl.cli.output.class_scores import ClassScore, are_fractions, displayed_classes
from tfsctl.core.json_strings import quote_controls

WIDTH = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar(fraction: float, width: int = WIDTH) -> str:
    """A bar that fills `fraction` (0 to 1) of `width` characters, drawn in eighths of a character and padded."""
    eighths = round(fraction * width * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()).ljust(width)


def of_scores(scores: Sequence[SupportsFloat], labels: Sequence[str] | None = None) -> list[str]:
    """One line per score, with its bar, and its label in front."""
    return _lines(scores, [f"{label}  " for label in labels] if labels else [""] * len(scores), WIDTH)


def of_classes(rows: Sequence[Sequence[ClassScore]], top: int | None, *, width: int = WIDTH) -> list[list[str]]:
    """For each row, its displayed classes, with bars if all scores are from 0 to 1, and the number of hidden ones."""
    return [_of_row(row, top, width * are_fractions(rows)) for row in rows]


def numbered(blocks: Sequence[Sequence[str]], labels: Sequence[str] | None = None) -> list[str]:
    """The lines of all rows, each under a heading with its number and its label if there are several rows."""
    if len(blocks) == 1:
        return list(blocks[0])
    headings = [f"row {number}" + (f": {labels[number - 1]}" if labels else "") for number in range(1, len(blocks) + 1)]
    return [line for heading, block in zip(headings, blocks, strict=True) for line in (heading, *block)]


def _of_row(row: Sequence[ClassScore], top: int | None, width: int) -> list[str]:
    shown = displayed_classes(row, top)
    lines = _lines([one.score for one in shown], [f"{quote_controls(one.name)}  " for one in shown], width)
    left = len(row) - len(shown)
    return [*lines, f"… {left} more"] if left and top is None else lines


def _lines(scores: Sequence[SupportsFloat], heads: list[str], width: int) -> list[str]:
    texts = [value_text.text(score) for score in scores]
    head_width, text_width = max(map(len, heads), default=0), max(map(len, texts), default=0)
    return [
        f"{head:<{head_width}}{text:<{text_width}}  {bar(float(score), width)} {float(score):4.0%}"
        if width
        else f"{head:<{head_width}}{text}"
        for head, text, score in zip(heads, texts, scores, strict=True)
    ]
