"""Shares, durations and sizes as options take them.

- a share: `10%` or `0.1`
- a duration: `60s`, `5m`, `1.5h` or plain seconds
- a size in bytes: `1000`, `64k`, `512m`, `1.5g`, `64MB`; a unit is a power of 1024
"""

from __future__ import annotations

import re

from tfsctl.clients.connection import MAX_TIMEOUT_S
from tfsctl.errors import InvalidInput

# Most commands use none of these patterns, so `re` compiles them when they are first used.
_SHARE = r"(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<percent>%?)"
_DURATION = r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|m|h|d|)"
_SECONDS_OF_UNIT = {"ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = r"(?P<number>\d{1,15}(?:\.\d{1,6})?) *(?P<unit>[kmgt]?)(?:i?b)?"
_BYTES_OF_UNIT = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_share(text: str, option: str) -> float:
    """A share as a number above 0 and up to 1. Raises InvalidInput."""
    match = re.fullmatch(_SHARE, text.strip())
    share = float(match["number"]) / (100 if match["percent"] else 1) if match else 0.0
    if not 0 < share <= 1:
        raise InvalidInput(f"{option} {text}: not a share", hint=f"{option} 10%, or {option} 0.1")
    return share


def parse_duration(text: str, option: str) -> float:
    """A duration in seconds, above 0 and up to three years. Raises InvalidInput."""
    match = re.fullmatch(_DURATION, text.strip())
    seconds = float(match["number"]) * _SECONDS_OF_UNIT[match["unit"]] if match else 0.0
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise InvalidInput(f"{option} {text}: not a duration", hint=f"{option} 60s, {option} 5m or {option} 1h")
    return seconds


def parse_size(text: str) -> int:
    """The number of bytes of a size. Raises InvalidInput if the text is not a size of at least one byte."""
    match = re.fullmatch(_SIZE, text, re.IGNORECASE)
    size = 0 if match is None else int(float(match["number"]) * _BYTES_OF_UNIT[match["unit"].lower()])
    if size < 1:
        raise InvalidInput(f"{text!r} is not a size", hint="use a number with a unit, e.g. 64m or 1g")
    return size
