"""The README, by its sections and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator

from locations import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """A part of the README, from its heading to the next."""
    return re.split(r"^#+ ", README.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def table(title: str) -> Iterator[list[str]]:
    """The cells of each row of the first table of a section."""
    rows = [line for line in section(title).splitlines() if line.startswith("|")]
    for row in rows[2:]:
        yield [cell.strip() for cell in row.strip("|").split("|")]
