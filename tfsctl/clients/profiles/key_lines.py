"""Find the line of a key in a TOML file, for error messages. The TOML parser keeps no positions."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_TABLE = re.compile(r"\s*\[\[?(.+?)\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"\s*((?:\"[^\"]*\"|'[^']*'|[^=#\"'])+?)\s*=.*")


def line_of(text: str, keys: Sequence[str]) -> int:
    """The number of the line (from 1) that sets a key, given as a path such as `profiles`, `staging`, `url`.

    If no line sets the key itself, the line of the innermost table around it; 1 if there is none.
    """
    best_line, best_depth = 1, 0
    for number, path in _paths(text):
        depth = next((i for i, (a, b) in enumerate(zip(path, keys, strict=False)) if a != b), min(len(path), len(keys)))
        if depth > best_depth:
            best_line, best_depth = number, depth
    return best_line


def _paths(text: str) -> Iterator[tuple[int, list[str]]]:
    """The line numbers of tables and keys, each with its path from the top."""
    table: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _TABLE.fullmatch(line):
            table = _split(header[1])
            yield number, table
        elif key := _KEY.fullmatch(line):
            yield number, table + _split(key[1])


def _split(dotted: str) -> list[str]:
    """The parts of a dotted key, with or without quotes; empty if it is not a key."""
    try:
        value: object = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError:
        return []
    parts = []
    while isinstance(value, dict):
        part, value = next(iter(value.items()))
        parts.append(part)
    return parts
