"""Parses the arguments of `predict`: text, numbers, `name=value` pairs and JSON, into values by input name.

    great movie                         a row for an input of strings
    2        1,2,3       [1, 2, 3]      rows, or one row of three values, depending on the shape of the input
    area=120 city=Bern                  a row with a value for each input
    {"area": 120, "city": "Bern"}       the same as JSON; with lists, whole columns
    {"instances": [...]}  {"inputs": …} a body of TensorFlow Serving's REST API
    image=@cat.jpg                      a file, with `-i` only (see `named_values`)

Text is never a fallback for broken JSON: an argument, or the value of a pair, that begins with `{` or `[` is JSON or an
error. Quotation marks are part of a text. A row written as JSON can hold any text: `{"city": "[b]"}`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tfsctl.core import dtypes
from tfsctl.core.json_strings import is_b64
from tfsctl.core.types import Signature, TensorSpec
from tfsctl.errors import InvalidInput
from tfsctl.inputs.literals import parse_complex, parse_integer, parse_json, parse_number, quoted
from tfsctl.inputs.named_values import only_name, read_file, split_pair

_PAIR = re.compile(r"\s*([A-Za-z_][\w./-]*)=")
_LATER_PAIR = re.compile(r"\s([A-Za-z_][\w./-]*)=")
TEXT_HINT = "--text sends it as text"
ROW_LINES_HINT = "each line is one row; use --format json for one JSON document"
_EMPTY_VALUE = re.compile(r"^\s*,|,\s*,")
_BODY_KEYS = {"instances", "inputs", "signature_name"}
_LITERALS: dict[str, object] = {"true": True, "false": False, "null": None}
_BOOLEANS = _LITERALS | {"1": True, "0": False}


@dataclass(frozen=True, slots=True)
class TypedValues:
    """Values by input name. If `is_row`, each value is one row; otherwise its nesting shows whether it is a row or a batch.

    If `is_exact`, a value for an input of unknown rank is the whole input, and a single value stays a scalar. If
    `is_batch`, the values are the `inputs` of a body, which are a batch.
    """

    values: Mapping[str, object]
    is_row: bool = False
    is_exact: bool = False
    is_batch: bool = False


def signature_in_body(texts: Sequence[str]) -> str | None:
    """The `signature_name` of the first REST body among the arguments; None without one."""
    for text in texts:
        value = parse_json(text) if text.lstrip().startswith("{") else None
        if isinstance(value, dict) and _is_body(value) and isinstance(value.get("signature_name"), str):
            return str(value["signature_name"])
    return None


def takes_text(signature: Signature) -> bool:
    """Whether a row is one text: the signature has one input of strings, with one string per row."""
    if len(signature.inputs) != 1 or signature.inputs[0].dtype != "string":
        return False
    return all(size in (1, None) for size in (signature.inputs[0].shape or ())[1:])


def are_features(texts: Sequence[str], named: Sequence[str], signature: Signature) -> bool:
    """Whether each argument has features by name, FEATURE=VALUE or a JSON object, and not the only input itself.

    Then they are meant for a signature that parses tf.Examples, if this one does (see `tf_examples`).
    """
    if not takes_text(signature) or not (texts or named):
        return False
    return all(_has_features(text, signature.inputs[0].name) for text in (*texts, *named))


def _has_features(text: str, input_name: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        pair = _PAIR.match(text)
        return pair is not None and pair[1] != input_name
    value = parse_json(text)
    rows = value if isinstance(value, list) else [value]
    return bool(rows) and all(
        isinstance(row, dict) and not is_b64(row) and not row.keys() & {*_BODY_KEYS, input_name} for row in rows
    )


def parse_typed(
    texts: Sequence[str], signature: Signature, named: Sequence[str] = (), *, as_text: bool = False
) -> list[TypedValues]:
    """Parse the values for all inputs of a signature, in the order they were typed; the `named` pairs (`-i`) come last.

    With `as_text`, each text is one row, and strings are not parsed at all. Raises InvalidInput, and NotFound for a
    missing file.
    """
    if not texts and not named and signature.inputs:
        raise InvalidInput("no input was given")
    if as_text and texts:
        if not takes_text(signature):
            raise InvalidInput("--text and quoted text need a model with one string input")
        if named:
            raise InvalidInput(f"{quoted(texts[0])} and -i {quoted(named[0])} are both values of the only input")
        return [TypedValues({signature.inputs[0].name: text}, is_row=True) for text in texts]
    parsed: list[TypedValues] = []
    pairs: dict[str, object] = {}

    def end_row() -> None:
        if pairs:
            parsed.append(TypedValues(dict(pairs), is_exact=True))
            pairs.clear()

    for text, is_pair in [*((text, False) for text in texts), *((text, True) for text in named)]:
        found = [_read_by_input(text, signature, as_text=as_text)] if is_pair else _read_pairs(text, signature)
        for name, value in found:
            if name in pairs:  # a repeated name starts the next row
                end_row()
            pairs[name] = value
        if not found:
            end_row()
            parsed += _read_values(text, signature)
    end_row()
    for number, one in enumerate(parsed, start=1):
        _check_names(one.values, signature, number if len(parsed) > 1 else None)
    return _merge_scalars(parsed, signature)


def parse_line(line: str, signature: Signature) -> TypedValues:
    """The row of one line of a file or of stdin, for a signature that does not take text: a number, JSON or pairs.

    Raises InvalidInput for anything else, and for a line with several rows.
    """
    if line.lstrip()[:1] in ("{", "[") and parse_json(line) is None:
        raise InvalidInput(f"{quoted(line)} is not JSON", hint=ROW_LINES_HINT)
    rows = parse_typed([line], signature)
    if len(rows) != 1 or (rows[0].is_batch and len(signature.inputs) == 1):
        raise InvalidInput(f"{quoted(line)} is not one row", hint=ROW_LINES_HINT)
    return rows[0]


def text_notes(texts: Sequence[str], signature: Signature) -> list[str]:
    """Notes about arguments that are sent as text, but look like something else. Empty if the model takes no text."""
    if not takes_text(signature):
        return []
    name = signature.inputs[0].name
    notes = []
    for text in texts:
        pair = _PAIR.match(text)
        if pair is not None and signature.input(pair[1]) is None:
            notes.append(f"{quoted(text)} is sent as text; {_unknown_name(pair[1], signature)}")
        elif text.startswith("@") and _is_file(text[1:]):
            notes.append(f"{quoted(text)} is sent as text; -i {name}={text} sends the content of the file")
        elif _is_file(text):
            notes.append(
                f"{quoted(text)} is sent as text, and not the content of that file: -i {name}=@{text} sends it"
            )
    if len(texts) > 1 and not any(re.search(r"\s", text) for text in texts):
        notes.append(f"{len(texts)} arguments are {len(texts)} rows; a text with spaces goes in quotes")
    return notes


def _is_file(text: str) -> bool:
    try:
        return bool(text) and os.path.isfile(text)
    except ValueError:  # a null character
        return False


def _read_by_input(text: str, signature: Signature, *, as_text: bool) -> tuple[str, object]:
    """The value of a `name=value` or `name=@file` given with `-i`. The value is never split into pairs."""
    name, value = split_pair(text, only_name(signature))
    spec = signature.input(name)
    if spec is None:
        raise InvalidInput(_unknown_name(name, signature))
    if not value.startswith("@"):
        return name, value if as_text and spec.dtype == "string" else _typed(value, spec)
    found = read_file(value[1:], spec)
    return name, _typed(found, spec) if isinstance(found, str) and spec.dtype != "string" else found


def _read_pairs(text: str, signature: Signature) -> list[tuple[str, object]]:
    """The `name=value` pairs of a text that starts with one. A value ends where the name of the next input begins."""
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


def _read_values(text: str, signature: Signature) -> Iterable[TypedValues]:
    """The values of a text without pairs."""
    value = parse_json(text) if text.lstrip()[:1] in ("{", "[") else None
    if value is None and text.lstrip()[:1] in ("{", "["):
        hint = TEXT_HINT if _takes_plain_text(signature) else ""
        raise InvalidInput(f"{quoted(text)} looks like JSON, but is not valid JSON", hint=hint)
    if isinstance(value, dict):
        if not _is_body(value):
            _refuse_unknown_body_keys(value, signature)
            return [_by_input(value, signature, text)]
        if not isinstance(value.get("signature_name", ""), str):
            raise InvalidInput(f'"signature_name" is {quoted(value["signature_name"])}, which is not a name')
        if "inputs" in value:
            return [replace(_by_input(value["inputs"], signature, text), is_exact=True, is_batch=True)]
        if value["instances"] == []:
            raise InvalidInput('"instances" is an empty list, which a server refuses')
        if isinstance(value["instances"], list):
            return [_by_input(row, signature, text, is_row=True) for row in value["instances"]]
        raise InvalidInput(f'"instances" is {quoted(value["instances"])}, which is not a list')
    if isinstance(value, list) and value and all(isinstance(row, dict) and not is_b64(row) for row in value):
        return [TypedValues(row, is_row=True) for row in value]
    return [_by_input(_typed(text, _only_input(signature, text)), signature, text)]


def _by_input(value: object, signature: Signature, text: str, *, is_row: bool = False) -> TypedValues:
    """The values of an object by name; any other value belongs to the only input."""
    if isinstance(value, dict) and not is_b64(value):
        return TypedValues(value, is_row, is_exact=len(signature.inputs) > 1 and not is_row)
    return TypedValues({_only_input(signature, text).name: value}, is_row)


def _is_body(value: Mapping[str, object]) -> bool:
    return value.keys() <= _BODY_KEYS and ("instances" in value) != ("inputs" in value)


def _refuse_unknown_body_keys(value: Mapping[str, object], signature: Signature) -> None:
    """Raise InvalidInput for a body of the REST API with other keys, unless they are inputs of the model."""
    if any(signature.input(name) for name in value):
        return
    if value.keys().isdisjoint(("instances", "inputs")):
        _refuse_similar_body_keys(value, signature)
        return
    if value.keys() >= {"instances", "inputs"}:
        raise InvalidInput('the body has both "instances" and "inputs"')
    unknown = next(name for name in value if name not in _BODY_KEYS)
    raise InvalidInput(f'the body has a key {unknown!r}; a body has "instances" or "inputs", and "signature_name"')


def _refuse_similar_body_keys(value: Mapping[str, object], signature: Signature) -> None:
    """Raise InvalidInput for a misspelt key of a body, such as `instance`, unless it resembles the name of an input."""
    names = [spec.name for spec in signature.inputs]
    for name in value:
        close = difflib.get_close_matches(name.lower(), ("instances", "inputs"), n=1)
        if close and not difflib.get_close_matches(name, names, n=1):
            raise InvalidInput(f"there is no input {name!r} (did you mean {close[0]!r}, the key of a body?)")


def _typed(text: str, spec: TensorSpec) -> object:
    """One typed value for one input: text or JSON for strings, otherwise one or several numbers, or JSON."""
    if spec.dtype == "string":
        if text.lstrip()[:1] not in ("[", "{"):
            return text
        value = parse_json(text)
        if isinstance(value, list) or is_b64(value):
            return value
        as_list = json.dumps([text], ensure_ascii=False)
        raise InvalidInput(
            f"the value of {spec.name}, {quoted(text)}, looks like JSON, but is not "
            + ("valid JSON" if value is None else "a list of strings"),
            hint=f"to send it as text, write it as a JSON list: {as_list}",
        )
    value = parse_json(text)
    if value is not None and not isinstance(value, (int, float)):
        return value
    if value is None and text.lstrip()[:1] in ("[", "{"):
        raise InvalidInput(f"{quoted(text)} looks like JSON, but is not valid JSON")
    if _EMPTY_VALUE.search(text):
        raise InvalidInput(f"{quoted(text)} has an empty value between its commas")
    numbers = [_parse_word(word, spec) for word in text.replace(",", " ").split()]
    if not numbers or any(isinstance(number, str) for number in numbers):
        raise InvalidInput(f"{quoted(text)} is not {spec.dtype}")
    return numbers[0] if len(numbers) == 1 and "," not in text else numbers


def _parse_word(word: str, spec: TensorSpec) -> object:
    """A number or one of the literals; the word itself if it is neither."""
    literals = _BOOLEANS if spec.dtype == "bool" else _LITERALS
    if word.lower() in literals:
        return literals[word.lower()]
    parse = parse_complex if spec.dtype.startswith("complex") else parse_integer if _is_integer(spec) else parse_number
    number = parse(word)
    return word if number is None else number


def _is_integer(spec: TensorSpec) -> bool:
    dtype = dtypes.BY_NAME.get(spec.dtype)
    return dtype is not None and dtype.is_integer


def _takes_plain_text(signature: Signature) -> bool:
    return len(signature.inputs) == 1 and signature.inputs[0].dtype == "string"


def _only_input(signature: Signature, text: str) -> TensorSpec:
    if len(signature.inputs) == 1:
        return signature.inputs[0]
    raise InvalidInput(f"{quoted(text)} does not name one of the {len(signature.inputs)} inputs")


def _check_names(values: Mapping[str, object], signature: Signature, row: int | None) -> None:
    where = "" if row is None else f"row {row}: "
    for name in values:
        if signature.input(name) is None:
            raise InvalidInput(where + _unknown_name(name, signature))
    missing = [spec.name for spec in signature.inputs if spec.name not in values]
    if missing:
        raise InvalidInput(f"{where}there is no value for {', '.join(missing)}")


def _unknown_name(name: str, signature: Signature) -> str:
    names = [spec.name for spec in signature.inputs]
    close = [one for one in names if one.lower() == name.lower()] or difflib.get_close_matches(name, names, n=1)
    return f"there is no input {name!r}" + (f" (did you mean {close[0]!r}?)" if close else "")


def _merge_scalars(parsed: list[TypedValues], signature: Signature) -> list[TypedValues]:
    """Merge `1 2 3`, typed as three arguments, into one row if rows have three values."""
    if len(signature.inputs) != 1 or len(parsed) < 2:
        return parsed
    (spec,) = signature.inputs
    values = [one.values[spec.name] for one in parsed]
    is_one_row = spec.shape is not None and len(spec.shape) == 2 and spec.shape[1] == len(values)
    if not is_one_row or not all(isinstance(value, (str, bytes, int, float, complex)) for value in values):
        return parsed
    return [TypedValues({spec.name: values}, is_row=True)]
