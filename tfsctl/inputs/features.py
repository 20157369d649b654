"""What people type -> the examples that classify and regress take: rows of features by name.

    area=120.5 city=Bern                 a row; a name said again begins the next
    {"area": 120.5, "city": ["Bern"]}    the same as JSON; a list of such objects is several rows
    {"examples": [...], "context": …}    a body for TensorFlow Serving's REST API
    photo=@cat.jpg                       a file, with `-i` only: its bytes; .txt text, .json values, .npy numbers

A signature does not say which features its model reads, so a value's kind is what it looks like: 2 is a whole number,
2.0 is not, "2" is text.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfsctl.core.inference import Examples, Feature, Features
from tfsctl.errors import InvalidInput
from tfsctl.inputs.named_values import read_array, read_bytes, read_json, read_text, split_pair

_NAME = r"[A-Za-z_][\w./-]*"
_PAIR = re.compile(rf"\s*{_NAME}=")
_PAIRS = re.compile(rf"(?:^|\s+)({_NAME})=")
_HINT = "for example: area=120.5 city=Bern"
_BODY_KEYS = {"examples", "context", "signature_name"}
_WORDS = {"true": True, "false": False}


def read_examples(texts: Sequence[str], named: Sequence[str] = ()) -> Examples:
    """The examples that were typed, in that order; `named` pairs (`-i`) come last.

    Raises InvalidInput that says what was typed and what is wanted; NotFound for a file that is not there.
    """
    rows: list[Features] = []
    row: dict[str, Feature] = {}
    context: Features = {}

    def end_row() -> None:
        if row:
            rows.append(dict(row))
            row.clear()

    def add(name: str, value: object) -> None:
        if name in row:
            end_row()
        row[name] = _feature(name, value)

    for text in texts:
        value = _json_of(text)
        if value is None:
            for name, typed in _split(text):
                add(name, _plain(typed))
            continue
        end_row()
        if isinstance(value, dict) and "examples" in value and value.keys() <= _BODY_KEYS:
            context = _features(value.get("context", {}))
            value = value["examples"]
        rows += map(_features, value if isinstance(value, list) else [value])
    for text in named:
        name, typed = split_pair(text)
        add(name, _file(typed[1:]) if typed.startswith("@") else _plain(typed))
    end_row()
    if not rows:
        raise InvalidInput("there is no example", hint=_HINT)
    return Examples(tuple(rows), context)


def as_float(examples: Examples, name: str) -> Examples:
    """The same examples, with the whole numbers of a feature as floats."""

    def cast(features: Features) -> Features:
        return {
            key: [float(value) for value in values] if key == name and values and isinstance(values[0], int) else values
            for key, values in features.items()
        }

    return Examples(tuple(cast(row) for row in examples.rows), cast(examples.context))


def _split(text: str) -> list[tuple[str, str]]:
    if not _PAIR.match(text):
        raise InvalidInput(f"{text[:60]!r} does not say which feature it is", hint=_HINT)
    parts = _PAIRS.split(text.strip())
    return list(zip(parts[1::2], parts[2::2], strict=True))


def _plain(text: str) -> object:
    """One typed value: JSON, a number or several, else text."""
    stripped = text.strip()
    if stripped[:1] in ('"', "[", "{"):
        value = _json(stripped)
        return text if value is None else value
    numbers = [_number(word) for word in stripped.split(",")]
    if any(number is None for number in numbers):
        return text
    return numbers if len(numbers) > 1 else numbers[0]


def _number(word: str) -> float | None:
    word = word.strip().lower()
    if word in _WORDS:
        return _WORDS[word]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return None


def _file(path: str) -> object:
    content, suffix = read_bytes(path), Path(path).suffix.lower()
    if suffix == ".json":
        return read_json(content, path)
    if suffix == ".npy":
        return read_array(content, path).ravel().tolist()
    return read_text(content) if suffix == ".txt" else content


def _features(value: object) -> Features:
    if not isinstance(value, dict):
        raise InvalidInput(f"an example is an object of features, not {json.dumps(value)[:60]}", hint=_HINT)
    return {name: _feature(name, values) for name, values in value.items()}


def _feature(name: str, value: object) -> Feature:
    """The values of one feature, all of one kind; truth values are whole numbers, as over REST."""
    values = [_value(name, item) for item in (value if isinstance(value, list) else [value])]
    if any(isinstance(item, float) for item in values) and not any(isinstance(item, bytes) for item in values):
        return [float(item) for item in values]
    if len({type(item) for item in values}) > 1:
        raise InvalidInput(f"feature {name!r} mixes text and numbers; its values are of one kind")
    return values  # type: ignore[return-value] # of one kind, as was just found


def _value(name: str, value: object) -> bytes | int | float:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, Mapping) and value.keys() == {"b64"}:
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise InvalidInput(f'feature {name!r}: the value of "b64" is not base64 (standard alphabet)') from None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (bytes, float)):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise InvalidInput(f"feature {name!r} is {value}, which int64 cannot hold")
        return value
    found = "null" if value is None else json.dumps(value)[:60]
    raise InvalidInput(f"feature {name!r} has {found}, which is neither text nor a number", hint=_HINT)


def _json_of(text: str) -> object:
    """The JSON object or list of a text, or None for pairs."""
    return _json(text) if text.lstrip()[:1] in ("{", "[") else None


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None
    except RecursionError as error:
        raise InvalidInput("the JSON is nested too deeply") from error
