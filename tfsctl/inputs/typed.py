"""What people type, read: text, numbers, `name=value` pairs and JSON become values for inputs, by name.

    great movie                         a row for an input of strings
    2        1,2,3       [1, 2, 3]      rows, or one row of three, as the input's shape says
    area=120 city=Bern                  a row, each input by its name
    {"area": 120, "city": "Bern"}       the same as JSON; with lists for whole columns
    {"instances": [...]}  {"inputs": …} a body for TensorFlow Serving's REST API
    image=@cat.jpg                      a file, with `-i` only (`core.named`)

Text for an input of strings may be a JSON string, which keeps it from being read as anything else.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tfsctl.core.types import Json, Signature, TensorSpec
from tfsctl.errors import InvalidInput
from tfsctl.inputs.named_values import only_name, read_file, split_pair

_PAIR = re.compile(r"\s*([A-Za-z_][\w./-]*)=")
_LATER_PAIR = re.compile(r"\s([A-Za-z_][\w./-]*)=")
_LONGEST_QUOTE = 60
_BODY_KEYS = {"instances", "inputs", "signature_name"}
_WORDS: dict[str, object] = {"true": True, "false": False, "null": None}
_TRUTHS = _WORDS | {"1": True, "0": False}


@dataclass(frozen=True, slots=True)
class Given:
    """Values for inputs by name. `is_row`: each is one row; else its nesting says whether it is a row or a batch."""

    values: Mapping[str, object]
    is_row: bool = False


def asked_signature(texts: Sequence[str]) -> str | None:
    """The `signature_name` of a REST body among what was typed, or None."""
    for text in texts:
        value = _json_of(text) if text.lstrip().startswith("{") else None
        if isinstance(value, dict) and _is_body(value) and isinstance(value.get("signature_name"), str):
            return str(value["signature_name"])
    return None


def read_typed(texts: Sequence[str], signature: Signature, named: Sequence[str] = ()) -> list[Given]:
    """Values for every input of the signature, in the order they were typed; `named` pairs (`-i`) come last.

    Raises InvalidInput, and NotFound for a file that is not there.
    """
    if not texts and not named:
        raise InvalidInput("nothing was typed")
    given: list[Given] = []
    pairs: dict[str, object] = {}

    def end_row() -> None:
        if pairs:
            given.append(Given(dict(pairs)))
            pairs.clear()

    for text, is_pair in [*((text, False) for text in texts), *((text, True) for text in named)]:
        found = [_read_named(text, signature)] if is_pair else _read_pairs(text, signature)
        for name, value in found:
            if name in pairs:  # a name said again begins the next row
                end_row()
            pairs[name] = value
        if not found:
            end_row()
            given += _read_values(text, signature)
    end_row()
    for number, one in enumerate(given, start=1):
        _check_names(one.values, signature, number if len(given) > 1 else None)
    return _one_row_of_scalars(given, signature)


def _read_named(text: str, signature: Signature) -> tuple[str, object]:
    """The value of a `name=value` or `name=@file` given with `-i`: the whole of it, whatever it looks like."""
    name, value = split_pair(text, only_name(signature))
    spec = signature.input(name)
    if spec is None:
        raise InvalidInput(_unknown_name(name, signature))
    if not value.startswith("@"):
        return name, _typed(value, spec)
    found = read_file(value[1:], spec)
    return name, _typed(found, spec) if isinstance(found, str) and spec.dtype != "string" else found


def _read_pairs(text: str, signature: Signature) -> list[tuple[str, object]]:
    """`name=value` pairs if the text begins with one; values run up to the next input's name."""
    first = _PAIR.match(text)
    if first is None or (_takes_plain_text(signature) and signature.input(first[1]) is None):
        return []
    if signature.input(first[1]) is None:
        raise InvalidInput(_unknown_name(first[1], signature))
    names = "|".join(re.escape(spec.name) for spec in signature.inputs)
    parts = re.split(rf"(?:^|\s+)({names})=", text.strip())
    pairs = []
    for name, value in zip(parts[1::2], parts[2::2], strict=True):
        spec = next(spec for spec in signature.inputs if spec.name == name)
        stray = None if spec.dtype == "string" else _LATER_PAIR.search(value)
        if stray:
            raise InvalidInput(_unknown_name(stray[1], signature))
        pairs.append((name, _typed(value, spec)))
    return pairs


def _read_values(text: str, signature: Signature) -> Iterable[Given]:
    """The values of one text that is not pairs."""
    value = _json_of(text) if text.lstrip()[:1] in ("{", "[") else None
    if isinstance(value, dict):
        if not _is_body(value):
            return [_named(value, signature, text)]
        if "inputs" in value:
            return [_named(value["inputs"], signature, text)]
        if isinstance(value["instances"], list):
            return [_named(row, signature, text, is_row=True) for row in value["instances"]]
        raise InvalidInput(f'"instances" is {_quoted(value["instances"])}, which is not a list')
    if isinstance(value, list) and value and all(isinstance(row, dict) and not _is_b64(row) for row in value):
        return [Given(row, is_row=True) for row in value]
    return [_named(_typed(text, _only_input(signature, text)), signature, text)]


def _named(value: object, signature: Signature, text: str, *, is_row: bool = False) -> Given:
    """An object names its values itself; any other value is for the only input there is."""
    if isinstance(value, dict) and not _is_b64(value):
        return Given(value, is_row)
    return Given({_only_input(signature, text).name: value}, is_row)


def _is_body(value: Mapping[str, object]) -> bool:
    return value.keys() <= _BODY_KEYS and ("instances" in value) != ("inputs" in value)


def _typed(text: str, spec: TensorSpec) -> object:
    """One typed value for one input: plain text for strings, else a number, several, or JSON."""
    if spec.dtype == "string":
        value = _json_of(text) if text.lstrip()[:1] in ('"', "[", "{") else None
        return value if isinstance(value, (str, list)) or _is_b64(value) else text
    is_truth = spec.dtype == "bool"
    value = _json_of(text)
    if value is not None and not (is_truth and isinstance(value, int)):
        return value
    numbers = [_number(word, _TRUTHS if is_truth else _WORDS) for word in text.replace(",", " ").split()]
    if not numbers or any(isinstance(number, str) for number in numbers):
        raise InvalidInput(f"{_quoted(text)} is not {spec.dtype}")
    return numbers[0] if len(numbers) == 1 and "," not in text else numbers


def _number(word: str, words: Mapping[str, object]) -> object:
    """A number or one of the words as it may be typed; the word itself if it is neither."""
    if word.lower() in words:
        return words[word.lower()]
    if "_" in word:  # which Python would pass over
        return word
    try:
        return int(word)
    except ValueError:
        pass
    try:
        return float(word)
    except ValueError:
        return word


def _json_of(text: str) -> Json:
    """The JSON value of a text, or None if it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None
    except RecursionError as error:
        raise InvalidInput("the JSON is nested too deeply") from error


def _is_b64(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"}


def _takes_plain_text(signature: Signature) -> bool:
    return len(signature.inputs) == 1 and signature.inputs[0].dtype == "string"


def _only_input(signature: Signature, text: str) -> TensorSpec:
    if len(signature.inputs) == 1:
        return signature.inputs[0]
    raise InvalidInput(f"{_quoted(text)} does not say which of {len(signature.inputs)} inputs it is for")


def _quoted(value: object) -> str:
    """A value as a message has room for it."""
    written = repr(value)
    return written if len(written) <= _LONGEST_QUOTE else f"{written[:_LONGEST_QUOTE]}…"


def _check_names(values: Mapping[str, object], signature: Signature, row: int | None) -> None:
    where = "" if row is None else f"row {row}: "
    for name in values:
        if signature.input(name) is None:
            raise InvalidInput(where + _unknown_name(name, signature))
    missing = [spec.name for spec in signature.inputs if spec.name not in values]
    if missing:
        raise InvalidInput(f"{where}there is no value for {', '.join(missing)}")


def _unknown_name(name: str, signature: Signature) -> str:
    close = difflib.get_close_matches(name, [spec.name for spec in signature.inputs], n=1)
    return f"there is no input {name!r}" + (f" (did you mean {close[0]!r}?)" if close else "")


def _one_row_of_scalars(given: list[Given], signature: Signature) -> list[Given]:
    """`1 2 3` typed as three texts is one row where rows have three values."""
    if len(signature.inputs) != 1 or len(given) < 2:
        return given
    (spec,) = signature.inputs
    values = [one.values[spec.name] for one in given]
    is_one_row = spec.shape is not None and len(spec.shape) == 2 and spec.shape[1] == len(values)
    if not is_one_row or not all(isinstance(value, (str, bytes, int, float)) for value in values):
        return given
    return [Given({spec.name: values}, is_row=True)]
