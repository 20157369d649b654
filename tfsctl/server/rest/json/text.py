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

from tfsctl.server.rest.json.grisu import digits_of

INDENT = "    "


def quote(text: str) -> str:
    """A JSON string literal. Control characters are escaped, with capital hexadecimal digits."""
    quoted: str = json.encoder.encode_basestring(text)
    return _ESCAPE.sub(_in_capitals, quoted) if "\\u" in quoted else quoted


_ESCAPE = re.compile(r"\\(?:u00..|.)")


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
    """An object with repeated keys: the mapping has the first value of each key, `pairs` has them all."""

    def __init__(self, members: dict[str, Any], pairs: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        self.pairs = pairs


_MAX_QUOTED_PARTS = 200_000  # of a value, before the text is cut


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
    names: dict[type, str] = {dict: "Object", list: "Array", str: "String"}
    return names.get(type(value), "Number")


def float_text(value: float) -> str:
    """A float32 in an answer: 6 significant digits if they read back as the same value, else 9."""
    return _shortest([value], _PACK_FLOAT, 9)[0]


def float64_text(value: float) -> str:
    """A float64 in an answer: 6 significant digits if they read back as the same value, else 17."""
    return _shortest([value], _PACK_DOUBLE, 17)[0]


def float_texts(array: np.ndarray) -> list[str]:
    """The texts of a flat float32 or float64 array, as `float_text` and `float64_text` would write each value."""
    if array.dtype != np.float32:
        return _shortest(array.tolist(), _PACK_DOUBLE, 17)
    if array.size < _MANY_VALUES:
        return _shortest(array.tolist(), _PACK_FLOAT, 9)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        exponents, digits, is_exact = _decimals(array)
    if not is_exact.all():
        texts = iter(_decimal_texts(array[is_exact], exponents[is_exact], digits[is_exact]))
        others = iter(_shortest(array[~is_exact].tolist(), _PACK_FLOAT, 9))
        return [next(texts if exact else others) for exact in is_exact.tolist()]
    return _decimal_texts(array, exponents, digits)


def _decimals(array: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Float32 values as decimals: exponents of their first digits, nine digits as integers, and which ones are exact.

    A value has 24 significant bits. Its product with a power of ten up to 10**12 therefore has at most 53, so float64
    holds it exactly, and rounding it gives the same digits as correctly rounded formatting. That covers 0.0001 to 10**6.
    Six digits are divided back: the quotient is what their text is read as.
    """
    size = np.abs(array)
    exact = size.astype(np.float64)
    is_exact = (exact >= 1e-4) & (exact < 1e6)
    exact[~is_exact] = 1.0
    exponents = np.floor(np.log10(exact)).astype(np.int64).clip(-4, 5)
    short_scale = _POWERS_OF_TEN[5 - exponents]
    short = np.rint(exact * short_scale)
    long = np.rint(exact * _POWERS_OF_TEN[8 - exponents])
    # The logarithm may be off by one near a power of ten, and rounding may reach the next one.
    is_exact &= (short >= 1e5) & (short < 1e6) & (long >= 1e8) & (long < 1e9)
    digits = np.where((short / short_scale).astype(np.float32) == size, short * 1000, long).astype(np.int64)
    return exponents, digits, is_exact


def _decimal_texts(array: np.ndarray, exponents: np.ndarray, digits: np.ndarray) -> list[str]:
    """The texts of decimals, without trailing zeros but with at least one digit after the point."""
    count = len(digits)
    texts = ("%d " * count % tuple(digits.tolist())).split()
    forms = (exponents + np.where(np.signbit(array), len(_PREFIXES) // 2, 0) + 4).tolist()
    return [
        prefix + text.rstrip("0")
        if not (whole := _WHOLE_DIGITS[form])
        else f"{prefix}{text[:whole]}.{text[whole:].rstrip('0') or '0'}"
        for form, text in zip(forms, texts, strict=True)
        for prefix in (_PREFIXES[form],)
    ]


_MANY_VALUES = 48  # from here on numpy is faster
_POWERS_OF_TEN = np.array([10.0**power for power in range(13)])
_PREFIXES = [sign + ("" if power >= 0 else "0." + "0" * (-power - 1)) for sign in ("", "-") for power in range(-4, 6)]
_WHOLE_DIGITS = [max(0, power + 1) for _ in range(2) for power in range(-4, 6)]
_PACK_FLOAT, _PACK_DOUBLE = struct.Struct("f").pack, struct.Struct("d").pack


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
