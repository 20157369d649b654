"""TensorFlow Serving's own image: the one that tfsctl uses by default, and the operations that its releases have."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cache

DEFAULT_REPOSITORY, DEFAULT_TAG = "tensorflow/serving", "2.20.0"
DEFAULT_IMAGE = f"{DEFAULT_REPOSITORY}:{DEFAULT_TAG}"

_VERSION = re.compile(r"(\d+)\.(\d+)")
_SHOWN_OPERATIONS = 3


@cache
def stock_operations() -> Mapping[str, tuple[int, ...]]:
    """TensorFlow's own operations, and the version that introduced each; () for old operations."""
    from importlib.resources import files

    text = files("tfsctl.serving_config").joinpath("stock_operations.txt").read_text(encoding="utf-8")
    lines = (line.partition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: parse_release(since) for name, _, since in lines}


def parse_release(text: str) -> tuple[int, ...]:
    """Major and minor version at the start of a tag or version; () if there is none."""
    found = _VERSION.match(text)
    return tuple(int(part) for part in found.groups()) if found else ()


def newer_operations(ops: Collection[str], tag: str) -> tuple[list[str], str]:
    """The operations that an image with this tag lacks because a later TensorFlow introduced them, and that release.

    Returns ([], "") if there are none, or if the tag does not begin with a release.
    """
    has, stock = parse_release(tag), stock_operations()
    newer = sorted(op for op in stock.keys() & set(ops) if has and stock[op] > has)
    return newer, ".".join(map(str, max((stock[op] for op in newer), default=())))


def list_operations(ops: Collection[str]) -> str:
    """`the operation A`, `the operations A, B, C and 2 more`."""
    names = sorted(ops)
    rest = f" and {len(names) - _SHOWN_OPERATIONS} more" if len(names) > _SHOWN_OPERATIONS else ""
    return f"the operation{'s' if len(names) > 1 else ''} {', '.join(names[:_SHOWN_OPERATIONS])}{rest}"
