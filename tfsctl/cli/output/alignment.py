"""Aligns texts in columns of a terminal, where a CJK character takes two cells and a combining character none."""

from __future__ import annotations

from collections.abc import Iterable


def widest(texts: Iterable[str]) -> int:
    """The number of cells of the widest text; 0 without texts."""
    return max(map(_cells, texts), default=0)


def padded(text: str, width: int) -> str:
    """A text with spaces after it, so that it takes `width` cells."""
    return text + " " * (width - _cells(text))


def _cells(text: str) -> int:
    if text.isascii():  # most are, and need no module
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
