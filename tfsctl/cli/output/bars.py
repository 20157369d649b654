"""Scores drawn as bars: one for each sigmoid score, one for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import SupportsFloat

from tfsctl.cli.output import answers
from tfsctl.cli.output.classes import Class, are_shares, best

WIDTH = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar(share: float, width: int = WIDTH) -> str:
    """A bar as long as `share` (0 to 1) of `width` characters, drawn to an eighth of one, and padded."""
    eighths = round(share * width * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()).ljust(width)


def of_scores(scores: Sequence[SupportsFloat], *, width: int = WIDTH) -> list[str]:
    """A line a score, with its bar."""
    return _lines(scores, [""] * len(scores), width)


def of_classes(rows: Sequence[Sequence[Class]], top: int | None, *, width: int = WIDTH) -> list[list[str]]:
    """For each row a line for each class that is shown, with bars if all scores are shares, and how many are not."""
    return [_of_row(row, top, width * are_shares(rows)) for row in rows]


def numbered(blocks: Sequence[Sequence[str]]) -> list[str]:
    """The lines of all rows, each row's under its number if there are several."""
    if len(blocks) == 1:
        return list(blocks[0])
    return [line for number, block in enumerate(blocks, start=1) for line in (f"row {number}", *block)]


def _of_row(row: Sequence[Class], top: int | None, width: int) -> list[str]:
    shown = best(row, top)
    lines = _lines([one.score for one in shown], [f"{answers.safe(one.name)}  " for one in shown], width)
    left = len(row) - len(shown)
    return [*lines, f"… {left} more"] if left and top is None else lines


def _lines(scores: Sequence[SupportsFloat], heads: list[str], width: int) -> list[str]:
    texts = [answers.text(score) for score in scores]
    head_width, text_width = max(map(len, heads), default=0), max(map(len, texts), default=0)
    return [
        f"{head:<{head_width}}{text:<{text_width}}  {bar(float(score), width)} {float(score):4.0%}"
        if width
        else f"{head:<{head_width}}{text}"
        for head, text, score in zip(heads, texts, scores, strict=True)
    ]
