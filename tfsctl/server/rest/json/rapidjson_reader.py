"""RapidJSON's iterative parser in Python, for bodies that no faster reader accepts: its errors and their offsets.

Source: rapidjson/reader.h of RapidJSON 1.1.0, with kParseNanAndInfFlag and kParseStopWhenDoneFlag.
"""

from __future__ import annotations

import math
import re
from typing import Any

from tfsctl.core.types import Json
from tfsctl.server.rest.json.text import DuplicateKeys
from tfsctl.server.status import ServingError, invalid_argument

_BRACKETS = re.compile(r"\[+")
_MAX_DEPTH = 10_000  # no tensor is nested so deep
_MAX_EXPONENT, _EXPONENT_DIGITS = 308, 9
WHITESPACE = " \n\r\t"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FRACTION = re.compile(r"\.[0-9]+")
_EXPONENT = re.compile(r"[eE][+-]?[0-9]+")
_TOO_BIG = "Number too big to be stored in double."
_BAD_ESCAPE = "Invalid escape character in string."
_PLAIN_STRING = re.compile(r'[^"\\\x00-\x1f]*')
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def finite_float(text: str) -> float:
    """The number in a text. Raises ValueError if a float64 cannot hold it."""
    value = float(text)
    if math.isinf(value):
        raise ValueError("too large")  # RapidJsonReader reports the offset
    return value


def int_or_float(text: str) -> int | float:
    """The whole number in a text: a float if it fits neither int64 nor uint64. Raises ValueError as `finite_float` does."""
    value = int(text) if len(text) < 25 else 2**64
    return value if -(2**63) <= value < 2**64 else finite_float(text)


class RapidJsonReader:
    """Reads one document. Works on bytes as Latin-1: one character, one byte."""

    def __init__(self, body: bytes, start: int = 0) -> None:
        self.text = body.decode("latin-1")
        self.at = start

    def read(self) -> Json:
        """The first value. Containers are kept on a list, so nesting costs no Python recursion."""
        open_containers: list[tuple[Any, str | None]] = []  # (container, key it waits to fill)
        self._skip()
        if self._peek() in ("", "\0", "]", "}", ",", ":"):
            raise self._error("The document is empty.")
        while True:
            if len(open_containers) > _MAX_DEPTH:
                raise self._too_deep()
            value, opened = self._value()
            if opened:
                open_containers.append((value, None))
                closed = self._enter(open_containers)
                if not closed:
                    continue
                value = open_containers.pop()[0]
            while True:  # put the value where it belongs; close what ends here
                if not open_containers:
                    return value
                if self._place(open_containers, value):
                    value = open_containers.pop()[0]
                else:
                    break

    def _error(self, message: str, at: int | None = None) -> ServingError:
        return invalid_argument(f"JSON Parse error: {message} at offset: {self.at if at is None else at}")

    def _too_deep(self) -> ServingError:
        """The error of RapidJSON if only brackets follow; otherwise that the document is nested too deep."""
        run = _BRACKETS.match(self.text, self.at)
        self.at = run.end() if run else self.at
        return self._error("Invalid value." if self.at == len(self.text) else "Nested too deeply.")

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _skip(self) -> None:
        while self._peek() and self._peek() in WHITESPACE:
            self.at += 1

    def _consume(self, word: str) -> bool:
        """Read the characters of `word`, up to the first that differs. Returns whether all are there."""
        for character in word:
            if self._peek() != character:
                return False
            self.at += 1
        return True

    def _enter(self, containers: list[tuple[Any, str | None]]) -> bool:
        """Read on after an opening bracket, past the first key of an object. Returns whether the container is empty."""
        container = containers[-1][0]
        self._skip()
        if self._peek() == ("]" if isinstance(container, list) else "}"):
            self.at += 1
            return True
        if isinstance(container, dict):
            containers[-1] = (container, self._key())
        elif self._peek() in ("", "\0", "}", ",", ":"):
            raise self._error("Invalid value.")
        return False

    def _key(self) -> str:
        if self._peek() != '"':
            raise self._error("Missing a name for object member.")
        key = self._string()
        self._skip()
        if self._peek() != ":":
            raise self._error("Missing a colon after a name of object member.")
        self.at += 1
        self._skip()
        if self._peek() in ("", "\0", "}", "]", ",", ":"):
            raise self._error("Invalid value.")
        return key

    def _place(self, containers: list[tuple[Any, str | None]], value: object) -> bool:
        """Put a finished value into the innermost container and read on. Returns whether the container ends here."""
        container, key = containers[-1]
        self._skip()
        if isinstance(container, list):
            container.append(value)
            closing, missing = "]", "Missing a comma or ']' after an array element."
        else:
            container.setdefault(key, value)
            container.pairs.append((key, value))
            closing, missing = "}", "Missing a comma or '}' after an object member."
        if self._peek() == closing:
            self.at += 1
            return True
        if self._peek() != ",":
            raise self._error(missing)
        self.at += 1
        self._skip()
        if isinstance(container, dict):
            containers[-1] = (container, self._key())
        elif self._peek() in ("", "\0", "]", "}", ",", ":"):
            raise self._error("Invalid value.")
        return False

    def _value(self) -> tuple[Any, bool]:
        """The next value, and whether it is a container just opened."""
        first = self._peek()
        if first == "[":
            self.at += 1
            return [], True
        if first == "{":
            self.at += 1
            return DuplicateKeys({}, []), True
        if first == '"':
            return self._string(), False
        for word, value in (("null", None), ("true", True), ("false", False)):
            if first == word[0]:
                if not self._consume(word):
                    raise self._error("Invalid value.")
                return value, False
        return self._number(), False

    def _number(self) -> int | float:
        """The number that begins here, NaN and Infinity included."""
        start = self.at
        minus = self._peek() == "-"
        match = _NUMBER.match(self.text, self.at)
        if match is None:
            self.at += minus
            return self._nan_or_infinity(minus=minus)
        self.at = match.end()
        is_whole = True
        for mark, pattern, missing in (
            (".", _FRACTION, "Miss fraction part in number."),
            ("eE", _EXPONENT, "Miss exponent in number."),
        ):
            if self._peek() and self._peek() in mark:
                match = pattern.match(self.text, self.at)
                if match is None:
                    self.at += 2 if self.text[self.at + 1 : self.at + 2] in ("+", "-") and mark == "eE" else 1
                    raise self._error(missing)
                self.at, is_whole = match.end(), False
        text = self.text[start : self.at]
        if is_whole:
            try:
                return int_or_float(text)
            except ValueError:
                raise self._error(_TOO_BIG, start) from None
        mantissa, _, exponent = text.lower().partition("e")
        is_huge = not exponent.startswith("-") and len(exponent.lstrip("+0")) > _EXPONENT_DIGITS
        # RapidJSON looks at the exponent alone.
        if is_huge or int(exponent[: _EXPONENT_DIGITS + 2] or 0) > _MAX_EXPONENT + len(mantissa.partition(".")[2]):
            raise self._error(_TOO_BIG, start)
        return float(text)

    def _nan_or_infinity(self, *, minus: bool) -> float:
        if self._peek() == "N":
            if self._consume("NaN"):
                return math.nan
        elif self._consume("Inf") and (self._peek() != "i" or self._consume("inity")):
            return -math.inf if minus else math.inf
        raise self._error("Invalid value.")

    def _string(self) -> str:
        """The string that begins here, its escapes decoded."""
        self.at += 1
        parts: list[str] = []
        while True:
            match = _PLAIN_STRING.match(self.text, self.at)
            if match is not None:
                parts.append(match.group())
                self.at = match.end()
            character = self._peek()
            if character == '"':
                self.at += 1
                return "".join(parts).encode("latin-1").decode("utf-8", "surrogateescape")
            if character == "\\":
                parts.append(self._escape())
            elif character in ("", "\0"):
                raise self._error("Missing a closing quotation mark in string.")
            else:
                raise self._error(_BAD_ESCAPE)  # RapidJSON 1.1.0's error for a control character

    def _escape(self) -> str:
        """One backslash escape as UTF-8 bytes in Latin-1, like the rest of the string."""
        start = self.at
        kind = self.text[start + 1 : start + 2]
        if kind != "u":
            if kind not in _ESCAPES:
                raise self._error(_BAD_ESCAPE, start)
            self.at += 2
            return _ESCAPES[kind]
        code = self._hex(start, start + 2)
        self.at += 6
        if 0xD800 <= code <= 0xDBFF:  # a second half alone passes
            if self.text[self.at : self.at + 2] != "\\u":
                raise self._error("The surrogate pair in string is invalid.", start)
            low = self._hex(start, self.at + 2)
            if not 0xDC00 <= low <= 0xDFFF:
                raise self._error("The surrogate pair in string is invalid.", start)
            self.at += 6
            code = 0x10000 + (code - 0xD800) * 0x400 + (low - 0xDC00)
        return chr(code).encode("utf-8", "surrogatepass").decode("latin-1")

    def _hex(self, escape_at: int, at: int) -> int:
        digits = self.text[at : at + 4]
        if re.fullmatch("[0-9a-fA-F]{4}", digits) is None:
            raise self._error("Incorrect hex digit after \\u escape in string.", escape_at)
        return int(digits, 16)
