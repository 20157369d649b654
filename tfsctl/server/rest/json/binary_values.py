"""Bytes in JSON: `{"b64": text}`, which TensorFlow Serving decodes wherever it expects a string."""

from __future__ import annotations

import binascii
import re

from tfsctl.server.rest.json.text import DuplicateKeys
from tfsctl.server.status import invalid_argument

_PIECE = 256 * 1024  # characters, a multiple of four: during a call no other thread runs
_NO_WHITE_SPACE = dict.fromkeys(map(ord, " \t\n\v\f\r"))
_B64_DIGITS = re.compile("[A-Za-z0-9+/]*")


def is_b64(value: object) -> bool:
    """Whether a value is `{"b64": text}`, which means bytes."""
    if not isinstance(value, dict) or not isinstance(value.get("b64"), str):
        return False
    return len(value.pairs if isinstance(value, DuplicateKeys) else value) == 1


def decode_b64(text: str) -> bytes:
    """The bytes of base64 text, by the rules of absl::Base64Unescape: white space is ignored, padding is optional.

    Raises INVALID_ARGUMENT for any other text.
    """
    compact = "".join([text[at : at + _PIECE].translate(_NO_WHITE_SPACE) for at in range(0, len(text), _PIECE)])
    digits = compact.rstrip("=.")
    wanted = -len(digits) % 4
    starts = range(0, len(digits), _PIECE)
    are_digits = all(_B64_DIGITS.fullmatch(digits, at, at + _PIECE) for at in starts)
    if not are_digits or wanted == 3 or len(compact) - len(digits) not in (0, wanted):
        raise invalid_argument("Unable to base64 decode")
    return b"".join([binascii.a2b_base64(digits[at : at + _PIECE] + "==") for at in starts])
