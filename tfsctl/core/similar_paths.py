"""Finds the path that was probably meant by one that does not exist, for hints."""

from __future__ import annotations

import os
from pathlib import Path

_MAX_NAMES = 2000  # comparing more names takes too long for a hint


def similar_path_hint(path: Path | str, *, only_directories: bool = False) -> str:
    """A hint `did you mean PATH?` with a similar name in the same directory, or an empty string."""
    import difflib

    path = Path(path)
    try:
        with os.scandir(path.parent) as entries:
            names = [one.name for one in entries if not only_directories or one.is_dir()]
    except (OSError, ValueError):
        return ""
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7) if len(names) <= _MAX_NAMES else []
    return f"did you mean {path.with_name(close[0])}?" if close else ""
