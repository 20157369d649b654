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


def quote(text: str) -> str:
    """A JSON string literal; control characters escaped, with capitals, everything else as it is."""
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


_MAX_QUOTED_PARTS = 200_000  # of a value; nobody reads on


class _Unwritable(Exception):
    """RapidJSON's writer stops at NaN and Infinity; what was written so far stands."""


def debug_text(value: object) -> str:
    """A value as TensorFlow Serving quotes it in an error: objects over several lines, arrays on one."""
    parts: list[str] = []
    with contextlib.suppress(_Unwritable, RecursionError):
        _write_debug(value, 0, parts)
    return "".join(parts)


def _write_debug(value: object, level: int, parts: list[str]) -> None:
    if len(parts) > _MAX_QUOTED_PARTS:
        parts.append("...")
        raise _Unwritable
    if isinstance(value, dict):
        parts.append("{")
        for index, (key, member) in enumerate(value.pairs if isinstance(value, DuplicateKeys) else value.items()):
            parts.append(("," if index else "") + "\n" + "    " * (level + 1) + quote(key) + ": ")
            _write_debug(member, level + 1, parts)
        parts.append(("\n" + "    " * level if value else "") + "}")
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
    values: list[float] = array.tolist()
    return _shortest(values, _PACK_FLOAT, 9) if array.dtype == np.float32 else _shortest(values, _PACK_DOUBLE, 17)


_PACK_FLOAT, _PACK_DOUBLE = struct.Struct("f").pack, struct.Struct("d").pack


def _shortest(values: list[float], pack: Callable[[float], bytes], digits: int) -> list[str]:
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
