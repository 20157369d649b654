"""Sizes in bytes as options take them: `1000`, `64k`, `512m`, `1.5g`, `64MB`. A unit is a power of 1024."""

from __future__ import annotations

import re

from tfsctl.errors import InvalidInput

_SIZE = re.compile(r"(?P<number>\d{1,15}(?:\.\d{1,6})?) *(?P<unit>[kmgt]?)(?:i?b)?", re.IGNORECASE)
_BYTES_OF_UNIT = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(text: str | int) -> int:
    """The number of bytes of a size. Raises InvalidInput if the text is not a size of at least one byte."""
    match = _SIZE.fullmatch(str(text))
    size = 0 if match is None else int(float(match["number"]) * _BYTES_OF_UNIT[match["unit"].lower()])
    if size < 1:
        raise InvalidInput(f"{text!r} is not a size", hint="use a number with a unit, e.g. 64m or 1g")
    return size
