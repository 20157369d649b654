"""The fields of a text protobuf with their lines and columns, which protobuf's own parser does not keep.

Format: https://protobuf.dev/reference/protobuf/textformat-spec/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
    |(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    |(?P<word>[A-Za-z0-9_.+-]+)
    |(?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSING = {"{": "}", "<": ">"}
_MAX_DEPTH = 50


@dataclass(slots=True)
class TextField:
    """One field: its name, its place (both from 1), its fields if it is a message, and its text if it is a value."""

    name: str
    line: int
    column: int
    fields: list[TextField] = field(default_factory=list)
    text: str = ""
    is_message: bool = False

    def all(self, name: str) -> list[TextField]:
        """The fields of a name."""
        return [one for one in self.fields if one.name == name]

    def first(self, *path: str) -> TextField | None:
        """The first field at a path of names, or None."""
        found: TextField | None = self
        for name in path:
            found = next(iter(found.all(name)), None) if found is not None else None
        return found


class _SyntaxError(Exception):
    """The text is not a text protobuf."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int
    column: int


def parse_fields(text: str) -> TextField | None:
    """The fields of a text protobuf, as one nameless message; None if the text cannot be parsed."""
    parser = _Parser(list(_tokens(text)))
    root = TextField("", 1, 1, is_message=True)
    try:
        root.fields = parser.fields_until("", 0)
    except _SyntaxError:
        return None
    return root


def _tokens(text: str) -> Iterator[_Token]:
    line, start_of_line = 1, 0
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        if kind != "space":
            yield _Token(kind, match[0], line, match.start() - start_of_line + 1)
        if "\n" in match[0]:
            line += match[0].count("\n")
            start_of_line = match.start() + match[0].rfind("\n") + 1


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def fields_until(self, closing: str, depth: int) -> list[TextField]:
        """The fields up to a closing sign ("": the end of the text)."""
        if depth > _MAX_DEPTH:
            raise _SyntaxError
        fields: list[TextField] = []
        while self._peek() != closing:
            name = self._name()
            if self._peek() == ":":
                self._next()
            fields += self._values(name, depth)
            if self._peek() in (",", ";"):
                self._next()
        if closing:
            self._next()
        return fields

    def _name(self) -> _Token:
        token = self._next()
        if token.text == "[":  # the name of an extension
            while self._peek() != "]":
                self._next()
            self._next()
            return token
        if token.kind != "word":
            raise _SyntaxError
        return token

    def _values(self, name: _Token, depth: int) -> list[TextField]:
        """The value of a field; each item of a list is a separate field."""
        if self._peek() != "[":
            return [self._value(name, name, depth)]
        self._next()
        values = []
        while self._peek() != "]":
            values.append(self._value(name, self._here(), depth))
            if self._peek() == ",":
                self._next()
        self._next()
        return values

    def _value(self, name: _Token, place: _Token, depth: int) -> TextField:
        value = TextField(name.text, place.line, place.column)
        token = self._next()
        if token.text in _CLOSING:
            value.is_message = True
            value.fields = self.fields_until(_CLOSING[token.text], depth + 1)
        elif token.kind == "text":
            value.text = token.text[1:-1]
            while self._kind() == "text":  # adjacent strings are one value
                value.text += self._next().text[1:-1]
        elif token.kind == "word":
            value.text = token.text if token.text != "-" else f"-{self._next().text}"
        else:
            raise _SyntaxError
        return value

    def _peek(self) -> str:
        return self._tokens[self._at].text if self._at < len(self._tokens) else ""

    def _kind(self) -> str:
        return self._tokens[self._at].kind if self._at < len(self._tokens) else ""

    def _next(self) -> _Token:
        token = self._here()
        self._at += 1
        return token

    def _here(self) -> _Token:
        if self._at >= len(self._tokens):
            raise _SyntaxError
        return self._tokens[self._at]
