r"""Strings in JSON values: text, and `{"b64": …}` for bytes; and text that is safe to print.

A terminal acts on the control characters in text from servers, models and files. C0 and C1 control characters (escape
sequences, OSC), DEL, bidirectional overrides, line separators and lone surrogates are therefore printed as JSON escapes
(`\u001b`), so escaped JSON is still the same JSON. Line breaks and tabs stay.

Imports no NumPy, base64 or json, so that commands start fast.
"""

from __future__ import annotations

import re
from functools import cache

from tfsctl.errors import InvalidInput

_UNSAFE = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
_UNSAFE_IN_LINE = f"{_UNSAFE[:-1]}\t\n]"
_compiled = cache(
    re.compile
)  # on first use: compiling both takes longer than importing this module, and is often not needed


class JsonText(bytes):
    """A value that is JSON already, in an array whose other values are plain text."""


def is_b64(value: object) -> bool:
    """Whether a JSON value is `{"b64": …}`, which means bytes."""
    return isinstance(value, dict) and value.keys() == {"b64"}


def encode_text(text: str, where: str) -> bytes:
    """Text as UTF-8. Raises InvalidInput, with `where` in front, for text with lone surrogates."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{where} is not UTF-8 text (at character {error.start + 1})",
            hint="iconv -f LATIN1 -t UTF-8 converts Latin-1 text",
        ) from None


def decode_b64(text: object, where: str) -> bytes:
    """The bytes of the value of `"b64"`. Raises InvalidInput, with `where` in front."""
    import base64

    try:
        if isinstance(text, str):
            return base64.b64decode(text, validate=True)
    except ValueError:  # also binascii.Error
        pass
    raise InvalidInput(f'{where}: the value of "b64" is not base64 (standard alphabet)')


def escape_controls(text: str) -> str:
    """Text with every unsafe character escaped. It may have several lines."""
    return text if _is_printable_ascii(text) else _compiled(_UNSAFE).sub(_json_escape, text)


def escape_line_controls(text: str) -> str:
    """Text as one line without tabs, so that it cannot be taken for several lines or cells."""
    return text if is_safe_cell(text) else _compiled(_UNSAFE_IN_LINE).sub(_json_escape, text)


def quote_controls(text: str) -> str:
    """Text unchanged if it is safe in one cell of a line, otherwise as an escaped JSON string."""
    if is_safe_cell(text):
        return text
    import json

    return escape_controls(json.dumps(text, ensure_ascii=False))


def is_safe_cell(text: str) -> bool:
    """Whether text is safe in one cell of a line."""
    return _is_printable_ascii(text) or _compiled(_UNSAFE_IN_LINE).search(text) is None


def _is_printable_ascii(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _json_escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
