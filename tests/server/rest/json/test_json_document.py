"""Request bodies are read as RapidJSON reads them for TensorFlow Serving."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsctl.server.rest.json import document as json_document
from tfsctl.server.rest.json.binary_values import is_b64
from tfsctl.server.rest.json.example import input_from_document
from tfsctl.server.rest.json.rapidjson_reader import RapidJsonReader
from tfsctl.server.rest.json.text import debug_text, type_name
from tfsctl.server.status import Code, ServingError


def _exactly(body: bytes) -> object:
    return RapidJsonReader(body).read()


READERS: list[Callable[[bytes], object]] = [json_document.parse, json_document.parse_unusual, _exactly]
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
).filter(lambda d: "Infinity" not in json.dumps(d))


@given(documents, st.booleans())
def test_all_readers_agree(document: object, escaped: bool) -> None:
    """orjson, the lenient and the exact reader give the same value for ordinary documents."""
    body = json.dumps(document, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    if b"\\ud" in body or b"\xed" in body:  # lone surrogates are refused: tested below
        return

    for read in READERS:
        assert read(body) == document


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The document is empty"),
        (b" \n", "The document is empty. at offset: 2"),
        (b"{", "Missing a name for object member. at offset: 1"),
        (b"{'a': 1}", "Missing a name for object member. at offset: 1"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a": 1 /* c */}', "Missing a comma or '}' after an object member. at offset: 8"),
        (b'["x"', "Missing a comma or ']' after an array element. at offset: 4"),
        (b'["x",]', "Invalid value. at offset: 5"),
        (b"[nul]", "Invalid value. at offset: 4"),
        (b"[-]", "Invalid value. at offset: 2"),
        (b"[1.]", "Miss fraction part in number. at offset: 3"),
        (b"[1e+]", "Miss exponent in number. at offset: 4"),
        (b"[1e400]", "Number too big to be stored in double. at offset: 1"),
        (b'["a', "Missing a closing quotation mark in string. at offset: 3"),
        (b'["\x01"]', "Invalid escape character in string. at offset: 2"),
        (b'["\\x"]', "Invalid escape character in string. at offset: 2"),
        (b'["\\u12g4"]', "Incorrect hex digit after \\u escape in string. at offset: 2"),
        (b'["\\ud800"]', "The surrogate pair in string is invalid. at offset: 2"),
        (b'["\\ud800\\u0041"]', "The surrogate pair in string is invalid. at offset: 2"),
        (b'\xef\xbb\xbf["x"', "Missing a comma or ']' after an array element. at offset: 7"),
        (b"\xef\xbb\xbf", "The document is empty. at offset: 3"),
        (b"[" * 100_000, "Invalid value. at offset: 100000"),
        (b"[" * 3_000_000, "Invalid value. at offset: 3000000"),
        (b'{"a":' * 1_000_000, "Invalid value. at offset: 0"),
        (b"[" + b"[]," * 5_000_000 + b"[]]", "More than 5000000 lists and objects"),
        (b"[1e99999999999999999999]", "Number too big to be stored in double. at offset: 1"),
    ],
)
def test_errors_have_rapidjsons_words_and_offsets(body: bytes, message: str) -> None:
    """Clients see the message that the real server would send."""
    with pytest.raises(ServingError) as refused:
        json_document.parse(body)

    assert refused.value.code == Code.INVALID_ARGUMENT
    assert refused.value.message == f"JSON Parse error: {message}"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": 1, "a": 2}', {"a": 1}),
        (b'{"a": [{"k": 1, "k": 2}]}', {"a": [{"k": 1}]}),
        (b'{"a": "x: y"}', {"a": "x: y"}),
        (b'{"a": 1} trailing', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'["\xff\xfe"]', ["\udcff\udcfe"]),
        (b"[Infinity, -Inf, Inf]", [math.inf, -math.inf, math.inf]),
        (b"[18446744073709551616, -9223372036854775809]", [2.0**64, -(2.0**63)]),
        (b'["\\ud83d\\ude00"]', ["😀"]),
        (b'["\\udc00"]', ["\udced\udcb0\udc80"]),
        (b"[2e308, -1e308]", [math.inf, -1e308]),
        (b'{"a": NaN, "b": "\\u0041"}', {"a": math.nan, "b": "A"}),
        (b"[1]\0[2", [1]),
    ],
)
def test_lenient_documents_are_read(body: bytes, value: object) -> None:
    """Of duplicate keys the first wins; trailing text, a byte-order mark, raw bytes, NaN and Infinity are accepted.

    So is the second half of a surrogate pair alone, and a number just too big becomes Infinity.
    """
    assert repr(json_document.parse(body)) == repr(value)


@pytest.mark.parametrize("beside", ["e", "\\ud83d\\ude00"], ids=["plain text", "a surrogate pair"])
def test_duplicate_keys_are_kept_by_all_readers(beside: str) -> None:
    """Of duplicate features the last one counts, errors quote both, and an object with two keys is no bytes."""
    body = f'{{"examples": [{{"x": [1], "x": [2.5], "y": "{beside}"}}]}}'.encode()
    (example,) = input_from_document(json_document.parse(body)).example_list.examples
    assert list(example.features.feature["x"].float_list.value) == [2.5]
    quoted = debug_text(json_document.parse(f'{{"a": 1, "a": "{beside}"}}'.encode()))
    assert quoted.splitlines()[1] == '    "a": 1,'
    bytes_twice = json_document.parse(f'{{"b64": "aGk=", "b64": "{beside}"}}'.encode())
    assert not is_b64(bytes_twice)
    assert type_name(bytes_twice) == "Object"


@pytest.mark.parametrize("body", [b"-400e", b" 1.", b"1e+]"])
def test_an_incomplete_number_is_an_error_in_all_readers(body: bytes) -> None:
    """It is not a number that is followed by other text."""
    for read in READERS:
        with pytest.raises(ServingError, match=r"JSON Parse error: Miss (exponent|fraction part) in number"):
            read(body)


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:0123456789.eE+-\\u tfn', max_size=60).map(str.encode))
def test_hostile_bodies_never_crash(body: bytes) -> None:
    """Any bytes are a value or an INVALID_ARGUMENT."""
    with contextlib.suppress(ServingError):
        json_document.parse(body)


def test_documents_of_too_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are counted before they become objects; commas in strings do not count."""
    monkeypatch.setattr(json_document, "MAX_VALUES", 100)
    with pytest.raises(ServingError, match="More than 100 values"):
        json_document.parse(b"[" + b"1," * 100 + b"1]")
    assert json_document.parse(b"[" + b"10," * 99 + b"1]")[-1] == 1
    assert json_document.parse(b'{"instances": ["' + b"," * 1000 + b'\\"' + b"," * 1000 + b'"]}')
