"""Draw scores from 0 to 1 as bars for a terminal: one per row, or one per class."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import SupportsFloat

from tfsctl.cli.output import alignment, value_text
from tfsctl.cli.output.class_scores import ClassScore, are_fractions, displayed_classes
from tfsctl.core.json_strings import quote_controls

WIDTH = 24  # at most; less in a narrow terminal
_MIN_WIDTH = 8  # a shorter bar is left out
_BESIDE_BAR = 7  # characters of a line: two spaces before the bar, and the percentage after it
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar(fraction: float, width: int = WIDTH) -> str:
    """A bar that fills `fraction` (0 to 1) of `width` characters, drawn in eighths of a character and padded."""
    eighths = round(fraction * width * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()).ljust(width)


def of_scores(scores: Sequence[SupportsFloat], labels: Sequence[str] | None = None) -> list[str]:
    """One line per score, with its bar, and its label in front."""
    return _lines(scores, [f"{label}  " for label in labels] if labels else [""] * len(scores))


def of_classes(rows: Sequence[Sequence[ClassScore]], top: int | None, *, width: int | None = None) -> list[list[str]]:
    """For each row, its displayed classes, with bars if all scores are from 0 to 1, and the number of hidden ones.

    `width` is that of the bars (default: what fits on a line of the terminal).
    """
    return [_of_row(row, top, width if are_fractions(rows) else 0) for row in rows]


def numbered(blocks: Sequence[Sequence[str]], labels: Sequence[str] | None = None) -> list[str]:
    """The lines of all rows, each under a heading with its number and its label if there are several rows."""
    if len(blocks) == 1:
        return list(blocks[0])
    headings = [f"row {number}" + (f": {labels[number - 1]}" if labels else "") for number in range(1, len(blocks) + 1)]
    return [line for heading, block in zip(headings, blocks, strict=True) for line in (heading, *block)]


def _of_row(row: Sequence[ClassScore], top: int | None, width: int | None) -> list[str]:
    shown = displayed_classes(row, top)
    lines = _lines([one.score for one in shown], [f"{quote_controls(one.name)}  " for one in shown], width)
    left = len(row) - len(shown)
    return [*lines, f"… {left} more"] if left and top is None else lines


def _lines(scores: Sequence[SupportsFloat], heads: list[str], width: int | None = None) -> list[str]:
    texts = [value_text.text(score) for score in scores]
    head_width, text_width = alignment.widest(heads), alignment.widest(texts)
    if width is None:
        room = shutil.get_terminal_size().columns - head_width - text_width - _BESIDE_BAR
        width = min(WIDTH, room) if room >= _MIN_WIDTH else 0
    return [
        f"{alignment.padded(head, head_width)}{text:<{text_width}}  {bar(float(score), width)} {float(score):4.0%}"
        if width
        else f"{alignment.padded(head, head_width)}{text}"
        for head, text, score in zip(heads, texts, scores, strict=True)
    ]
