"""The README and the pages of docs/, by their sections and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator

from locations import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    """A section of a page of docs/ (`reference.md`), from its heading to the next."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.split(r"^#+ ", text.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def table(page: str, title: str) -> Iterator[list[str]]:
    """The cells of each row of the first table of a section."""
    rows = [line for line in section(page, title).splitlines() if line.startswith("|")]
    for row in rows[2:]:
        yield [cell.strip() for cell in row.strip("|").split("|")]
