"""Parses the arguments of `classify` and `regress`: examples, which are rows of features by name.

    area=120.5 city=Bern                 a row; a repeated name starts the next row
    {"area": 120.5, "city": ["Bern"]}    the same as JSON; a list of such objects is several rows
    {"examples": [...], "context": …}    a body for TensorFlow Serving's REST API
    photo=@cat.jpg                       a file, with `-i` only: its bytes; .txt text, .json values, .npy numbers

A signature does not declare the features its model reads, so the type of a value is the type it looks like: 2 is an
integer, 2.0 a float, "2" a string.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from tfsctl.core.inference import Examples, Feature, Features
from tfsctl.core.json_strings import decode_b64, encode_text, is_b64
from tfsctl.errors import InvalidInput
from tfsctl.inputs.literals import parse_json, parse_number, quoted
from tfsctl.inputs.named_values import read_array, read_bytes, read_json, read_text, split_pair

_MAX_FLOAT32 = 3.4028235677973366e38  # the first float64 that becomes infinite
_NAME = r"[A-Za-z_][\w./-]*"
_PAIR = re.compile(rf"\s*{_NAME}=")
_PAIRS = re.compile(rf"(?:^|\s+)({_NAME})=")
_HINT = "an example has FEATURE=VALUE pairs, such as area=120.5 city=Bern"
EXAMPLE_LINES_HINT = "each line is one example, FEATURE=VALUE or a JSON object; --format json reads one JSON document"
_BODY_KEYS = {"examples", "context", "signature_name"}
_BOOLEANS = {"true": True, "false": False}


def read_examples(texts: Sequence[str], named: Sequence[str] = (), *, text_features: Collection[str] = ()) -> Examples:
    """Parse examples, in the order they were typed; the `named` pairs (`-i`) come last.

    The values of `text_features` are text, even if they look like numbers.

    Raises InvalidInput for text that is not an example, NotFound for a missing file.
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

    def parse(name: str, typed: str) -> object:
        return typed if name in text_features else _parse_value(typed)

    for text in texts:
        value = _parse_document(text)
        if value is None:
            for name, typed in _split_pairs(text):
                add(name, parse(name, typed))
            continue
        end_row()
        if isinstance(value, dict) and "examples" in value and value.keys() <= _BODY_KEYS:
            context = _features(value.get("context", {}))
            value = value["examples"]
        rows += map(_features, value if isinstance(value, list) else [value])
    for text in named:
        name, typed = split_pair(text)
        add(name, _file_value(typed[1:]) if typed.startswith("@") else parse(name, typed))
    end_row()
    if not rows:
        raise InvalidInput("no example was given", hint=_HINT)
    return Examples(tuple(rows), context)


def read_example_lines(lines: Sequence[str], read: Callable[[str], Examples] | None = None) -> Examples:
    """The examples of lines, one per line. `read` parses one line (default: `read_examples`).

    Raises InvalidInput with the number of the first line that is not one example.
    """
    rows: list[Features] = []
    for number, line in enumerate(lines, start=1):
        try:
            found = read_examples([line]) if read is None else read(line)
        except InvalidInput as error:
            raise InvalidInput(f"line {number}: {error.message}", hint=error.hint) from error
        if len(found.rows) != 1 or found.context:
            raise InvalidInput(f"line {number} is not one example", hint=EXAMPLE_LINES_HINT)
        rows += found.rows
    if not rows:
        raise InvalidInput("no example was given", hint=_HINT)
    return Examples(tuple(rows))


def _parse_document(text: str) -> object:
    """The value of a JSON document; None if the text is not one. Raises InvalidInput if it only begins like one."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    value = parse_json(text)
    if value is None:
        raise InvalidInput(f"{quoted(text)} looks like JSON, but is not valid JSON", hint=_HINT)
    return value


def examples_of_records(records: Sequence[object], context: object = None) -> Examples:
    """Examples from objects of features, one per row. `context` holds the features that all of them share.

    Raises InvalidInput for a value that is not such an object, and if there is no record.
    """
    if not records:
        raise InvalidInput("no example was given")
    return Examples(tuple(map(_features, records)), {} if context is None else _features(context))


def as_float(examples: Examples, name: str) -> Examples:
    """The same examples with the integers of one feature converted to floats."""

    def cast(features: Features) -> Features:
        return {
            key: [float(value) for value in values] if key == name and values and isinstance(values[0], int) else values
            for key, values in features.items()
        }

    return Examples(tuple(cast(row) for row in examples.rows), cast(examples.context))


def _split_pairs(text: str) -> list[tuple[str, str]]:
    if not _PAIR.match(text):
        raise InvalidInput(f"{quoted(text)} has no feature name", hint=_HINT)
    parts = _PAIRS.split(text.strip())
    return list(zip(parts[1::2], parts[2::2], strict=True))


def _parse_value(text: str) -> object:
    """One typed value: JSON, one or several numbers, otherwise text."""
    stripped = text.strip()
    if stripped[:1] in ('"', "[", "{"):
        value = parse_json(stripped)
        if value is None and stripped[:1] != '"':
            as_json = json.dumps(text, ensure_ascii=False)
            raise InvalidInput(
                f"the value {quoted(text)} looks like JSON, but is not valid JSON",
                hint=f"to send it as text, put it in quotes: {as_json}",
            )
        return text if value is None else value
    numbers = [_parse_number(word) for word in stripped.split(",")]
    if any(number is None for number in numbers):
        return text
    return numbers if len(numbers) > 1 else numbers[0]


def _parse_number(word: str) -> float | None:
    word = word.strip()
    return _BOOLEANS[word.lower()] if word.lower() in _BOOLEANS else parse_number(word)


def _file_value(path: str) -> object:
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
    """The values of one feature, all of one type. Booleans become integers, as over REST."""
    values = [_value(name, item) for item in (value if isinstance(value, list) else [value])]
    if any(isinstance(item, float) for item in values) and not any(isinstance(item, bytes) for item in values):
        return [float(item) for item in values]
    if len({type(item) for item in values}) > 1:
        raise InvalidInput(f"feature {name!r} mixes text and numbers")
    return values  # type: ignore[return-value] # checked above to be of one type


def _value(name: str, value: object) -> bytes | int | float:
    if isinstance(value, str):
        return encode_text(value, f"feature {name!r}")
    if isinstance(value, dict) and is_b64(value):
        return decode_b64(value["b64"], f"feature {name!r}")
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and _MAX_FLOAT32 <= abs(value) < math.inf:
        raise InvalidInput(f"feature {name!r} is {value:g}, which is too large for float32")
    if isinstance(value, (bytes, float)):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise InvalidInput(f"feature {name!r} is {value}, which int64 cannot hold")
        return value
    found = "null" if value is None else json.dumps(value)[:60]
    raise InvalidInput(f"feature {name!r} has {found}, which is neither text nor a number", hint=_HINT)
