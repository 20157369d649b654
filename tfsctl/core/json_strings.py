"""Strings in JSON values: text, and `{"b64": …}` for bytes. Does not import NumPy, so that commands start fast."""

from __future__ import annotations

import base64
import binascii

from tfsctl.errors import InvalidInput


def is_b64(value: object) -> bool:
    """Whether a JSON value is `{"b64": …}`, which stands for bytes."""
    return isinstance(value, dict) and value.keys() == {"b64"}


def encode_text(text: str, where: str) -> bytes:
    """Text as UTF-8. Raises InvalidInput, with `where` in front, for text that was decoded from other bytes."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{where} is not UTF-8 text (at character {error.start + 1})",
            hint="iconv -f LATIN1 -t UTF-8 converts Latin-1 text",
        ) from None


def decode_b64(text: object, where: str) -> bytes:
    """The bytes of the value of `"b64"`. Raises InvalidInput, with `where` in front."""
    try:
        if isinstance(text, str):
            return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise InvalidInput(f'{where}: the value of "b64" is not base64 (standard alphabet)')
