"""JSON text as TensorFlow Serving writes it: numbers, strings, and the values it quotes in its errors."""

from __future__ import annotations

import contextlib
import json
import math
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from tfsctl.server.rest.json.grisu import digits_of

INDENT = "    "
_ESCAPE = re.compile(r"\\(?:u00..|.)")
_MAX_QUOTED_PARTS = 200_000  # of a value, before the text is cut
_MANY_VALUES = 20  # from here on numpy and orjson take less CPU time; for 80 values it is a fifth
_POWERS_OF_TEN = np.array([10.0**power for power in range(-4, 7)])
# By the number of these powers that a value reaches: what makes six (nine) digits of it a whole number.
_SIX_DIGITS = np.array([np.nan, *[10.0 ** (5 - power) for power in range(-4, 6)], np.nan])
_NINE_DIGITS = 1000 * _SIX_DIGITS
_PACK_FLOAT, _PACK_DOUBLE = struct.Struct("f").pack, struct.Struct("d").pack


def quote(text: str) -> str:
    """A JSON string literal. Control characters are escaped, with capital hexadecimal digits."""
    quoted: str = json.encoder.encode_basestring(text)
    return _ESCAPE.sub(_in_capitals, quoted) if "\\u" in quoted else quoted


def _in_capitals(escape: re.Match[str]) -> str:
    text = escape.group()
    return f"\\u00{text[4:].upper()}" if text[1] == "u" else text


def double_text(value: float) -> str:
    """A double as RapidJSON's writer prints it: `1e39` without a plus sign, `100.0` with a fraction."""
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    if value == 0:
        return f"{sign}0.0"
    digits, exponent = digits_of(abs(value))
    point = len(digits) + exponent  # where the decimal point stands, counted from the first digit
    if len(digits) <= point <= 21:
        return f"{sign}{digits}{'0' * (point - len(digits))}.0"
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1}"


class DuplicateKeys(dict[str, Any]):
    """An object that may have repeated keys: the mapping has the first value of each key, `pairs` has them all."""

    def __init__(self, members: dict[str, Any], pairs: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        self.pairs = pairs


class _Unwritable(Exception):
    """RapidJSON's writer stops at NaN and Infinity. The text up to there is quoted."""


def debug_text(value: object) -> str:
    """A value as TensorFlow Serving quotes it in an error: objects over several lines, arrays on one."""
    parts: list[str] = []
    with contextlib.suppress(_Unwritable, RecursionError):
        _write_debug(value, 0, parts)
    return "".join(parts)


def _write_debug(value: object, level: int, parts: list[str]) -> None:
    """Append the text of a value that is nested `level` deep. Raises _Unwritable where the text ends."""
    if len(parts) > _MAX_QUOTED_PARTS:
        parts.append("...")
        raise _Unwritable
    if isinstance(value, dict):
        parts.append("{")
        for index, (key, member) in enumerate(value.pairs if isinstance(value, DuplicateKeys) else value.items()):
            parts.append(("," if index else "") + "\n" + INDENT * (level + 1) + quote(key) + ": ")
            _write_debug(member, level + 1, parts)
        parts.append(("\n" + INDENT * level if value else "") + "}")
    elif isinstance(value, list):
        parts.append("[")
        for index, item in enumerate(value):
            if index:
                parts.append(", ")
            _write_debug(item, level + 1, parts)
        parts.append("]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _Unwritable
        parts.append(double_text(value))
    elif isinstance(value, str):
        parts.append(quote(value))
    else:
        parts.append(json.dumps(value))


def type_name(value: object) -> str:
    """RapidJSON's name of a value's type, as TensorFlow Serving prints it."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, dict):
        return "Object"
    if isinstance(value, list):
        return "Array"
    return "String" if isinstance(value, str) else "Number"


def float_text(value: float) -> str:
    """A float32 in an answer: 6 significant digits if they read back as the same value, else 9."""
    return _shortest([value], _PACK_FLOAT, 9)[0]


def float_texts(array: np.ndarray) -> list[str]:
    """The texts of a flat array: of float32 values as `float_text` writes them, of float64 values with 6 or 17 digits."""
    if array.dtype != np.float32:
        return _shortest(array.tolist(), _PACK_DOUBLE, 17)
    if array.size < _MANY_VALUES:
        return _shortest(array.tolist(), _PACK_FLOAT, 9)
    decimals = orjson.dumps(_decimals(array), option=orjson.OPT_SERIALIZE_NUMPY)
    texts = decimals[1:-1].decode().split(",")
    if b"n" in decimals:  # null
        others = [index for index, text in enumerate(texts) if text == "null"]
        for index, text in zip(others, _shortest(array[others].tolist(), _PACK_FLOAT, 9), strict=True):
            texts[index] = text
    return texts


def _decimals(array: np.ndarray) -> np.ndarray:
    """Float32 values rounded to six digits if they read back as the same value, else to nine, as float64.

    The shortest text of such a float64 has just these digits. NaN for values below 0.0001 or from 10**6 on.

    A value has 24 significant bits. Its product with a power of ten up to 10**12 therefore has at most 53, so float64
    holds it exactly, and rounding it gives the same digits as correctly rounded formatting. Divided by that power they
    are the float64 that their text is read as.
    """
    with np.errstate(invalid="ignore"):  # signalling NaNs
        exact = array.astype(np.float64)
        forms = _POWERS_OF_TEN.searchsorted(np.abs(exact), "right")
        scale = _SIX_DIGITS[forms]
        short = np.rint(exact * scale) / scale
        scale = _NINE_DIGITS[forms]
        return np.where(short.astype(np.float32) == array, short, np.rint(exact * scale) / scale)


def _shortest(values: list[float], pack: Callable[[float], bytes], digits: int) -> list[str]:
    """The texts of floats: 6 digits if they read back as the same value, which `pack` decides, else `digits`."""
    texts = []
    for value in values:
        text = f"{value:.6g}"
        try:
            exact = pack(float(text)) == pack(value)
        except OverflowError:  # rounded up past the largest float32
            exact = False
        if not exact:
            text = f"{value:.{digits}g}"
        texts.append(text if "." in text or "e" in text else _without_fraction(text))
    return texts


def _without_fraction(text: str) -> str:
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(text) or f"{text}.0"
