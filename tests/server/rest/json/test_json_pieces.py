"""Large bodies that are read in pieces are read as whole ones are."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfsctl.core import dtypes, protos
from tfsctl.core.dtypes import DType
from tfsctl.server.rest import examples as rest_examples
from tfsctl.server.rest.json import document as json_document
from tfsctl.server.rest.json import pieces, spans
from tfsctl.server.rest.json.tensor import inputs_from_document
from tfsctl.server.signatures.serialized_input import serialized_examples
from tfsctl.server.status import ServingError

BLOCK = 24
B64 = {"b64": base64.b64encode(b"\0\1" * 60).decode()}


@pytest.fixture(autouse=True)
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what was parsed at once, where a block has few bytes."""
    sizes: list[int] = []
    parse = json_document.parse

    def counted(body: bytes) -> Any:
        sizes.append(len(body))
        return parse(body)

    for module in (pieces, spans):
        monkeypatch.setattr(module, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(json_document, "parse", counted)
    return sizes


def read(body: bytes, wanted: Mapping[str, DType]) -> Any:
    """What the reader of pieces makes of a body."""
    return pieces.large_inputs(body, lambda _: wanted)


def dtypes_of(**names: str) -> dict[str, DType]:
    """The dtypes of inputs by name."""
    return {alias: dtypes.BY_NAME[name] for alias, name in names.items()}


ROW = [0.5, 1.25, -3]
BODIES: dict[str, tuple[dict[str, Any], dict[str, DType]]] = {
    "numbers": ({"instances": [*range(99)]}, dtypes_of(x="int64")),
    "floats": ({"instances": [0.5, 1, 2.5e3] * 40}, dtypes_of(x="float32")),
    "booleans": ({"instances": [True, False] * 40}, dtypes_of(x="bool")),
    "rows": ({"signature_name": "s", "instances": [[1.5, 2]] * 50}, dtypes_of(x="float32")),
    "one large row": ({"instances": [[[*range(70)], [*range(70)]]]}, dtypes_of(x="int32")),
    "small and large rows": ({"instances": [[1] * 40, [22222] * 40]}, dtypes_of(x="int32")),
    "text": ({"instances": ["", 'a"]', "\\", "\\\\", "é", "[{,", "x" * 100, "\n"] * 9}, dtypes_of(x="string")),
    "lists of text": ({"instances": [["a,b", "c\\"]] * 30}, dtypes_of(x="string")),
    "bytes": ({"instances": [B64, {"b64": "AA=="}] * 9}, dtypes_of(x="string")),
    "text and bytes": ({"instances": ["a", {"b64": "AA=="}] * 30}, dtypes_of(x="string")),
    "objects": ({"instances": [{"a": 1.5, "b": "{"}] * 30}, dtypes_of(a="float32", b="string")),
    "large objects": ({"instances": [{"a": [1] * 99, "b": ["x"] * 50}] * 2}, dtypes_of(a="int64", b="string")),
    "column": ({"inputs": [[1, 2], [3, 4]] * 20}, dtypes_of(x="int32")),
    "named columns": ({"inputs": {"b": ["x"] * 40, "a": 7}}, dtypes_of(a="int32", b="string")),
    "a column of one": ({"inputs": {"x": [[[0.5] * 200]]}}, dtypes_of(x="float64")),
}


@pytest.mark.parametrize(("document", "wanted"), BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("blanks", [False, True])
def test_bodies_are_read_in_pieces_as_by_the_general_reader(
    document: dict[str, Any], wanted: dict[str, DType], parsed: list[int], *, blanks: bool
) -> None:
    """As the general reader reads them; no more than some blocks are parsed at once, unless a string is larger."""
    body = json.dumps(document, indent=1 if blanks else None, ensure_ascii=False).encode()
    expected, row_form = inputs_from_document(json_document.parse(body), wanted, body)
    parsed.clear()

    signature, arrays, form = read(body, wanted)

    assert (signature, form) == (document.get("signature_name", ""), row_form)
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(arrays[name], array)
    longest = max((len(part) for part in body.split(b'"')), default=0)
    assert len(parsed) > 1
    assert max(parsed) <= 5 * BLOCK + len('{"instances":[]}') + longest


class Uncopied(bytes):
    """A body that must not be copied as a whole."""

    __slots__ = ()

    def rstrip(self, *_: Any) -> bytes:
        """Would copy it."""
        raise AssertionError

    lstrip = strip = rstrip


@pytest.mark.parametrize("blanks", [b"", b" \n\t"])
def test_white_space_around_a_body(blanks: bytes) -> None:
    """It is skipped without copying the body, which would hold Python's lock."""
    body = Uncopied(blanks + b'{"instances": [1, 2]}' + blanks)
    assert spans.top_members(body) == {"instances": (len(blanks) + 14, len(blanks) + 20)}


JSON = st.recursive(
    st.one_of(st.integers(-9, 9999), st.booleans(), st.floats(-9, 9), st.text('ab\\"[]{},:é\n', max_size=9)),
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(st.sampled_from("abx"), inner, max_size=2)),
    max_leaves=40,
)


@settings(max_examples=300)
@given(st.sampled_from(["instances", "inputs"]), JSON, st.sampled_from(["float32", "int64", "string", "bool"]))
def test_any_body_is_read_as_by_the_general_reader_or_left_to_it(form: str, value: Any, dtype: str) -> None:
    """A body is read as the general reader reads it, or left to it."""
    wanted = dtypes_of(x=dtype)
    body = json.dumps({form: value}).encode()
    found = read(body, wanted)
    if found is not None:
        expected, row_form = inputs_from_document(json_document.parse(body), wanted, body)
        assert found[2] == row_form
        assert found[1]["x"].dtype == expected["x"].dtype
        np.testing.assert_array_equal(found[1]["x"], expected["x"])


@given(st.text('[]{},:"\\ 1ab', max_size=60))
def test_text_that_is_no_json_is_refused_or_left_to_the_general_reader(text: str) -> None:
    """What is no JSON is refused, or left to the general reader."""
    body = b'{"instances": [' + text.encode() + b"]}"
    try:
        found = read(body, dtypes_of(x="string"))
    except ServingError:
        with pytest.raises(ServingError, match="JSON Parse error: "):
            json_document.parse(body)
        return
    if found is not None:
        assert (
            found[1]["x"].tolist()
            == inputs_from_document(json.loads(body), dtypes_of(x="string"), body)[0]["x"].tolist()
        )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1]",
        b'{"instances": [1], "inputs": [1]}',
        b'{"instances": [1], "other": [1]}',
        b'{"instances": []}',
        b'{"instances": [1], "instances": [2]}',
        b'{"instances": [1]} trailing text',
        b'{"instances": [[1, 2], [3]]}',
        b'{"instances": ["a"]}',
        b'{"signature_name": 1, "instances": [1]}',
        b'{"inputs": {"y": [1]}}',
        b'{"instances": [{"x": 1}, 2]}',
    ],
)
def test_unusual_bodies_are_left_to_the_general_reader(body: bytes) -> None:
    """It has the exact errors, and reads more."""
    assert read(body, dtypes_of(x="int64")) is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"instances": [' + b"1, " * 50 + b"?]}", "Invalid value. at offset: 165"),
        (b'{"instances": [' + b'"a", ' * 50 + b'"a]}', "Invalid value. at offset: 269"),
        (b'{"instances": [' + b"1, " * 50, "Invalid value. at offset: 164"),
    ],
)
def test_errors_have_the_offset_in_the_whole_body(body: bytes, message: str) -> None:
    """As if it was read whole."""
    with pytest.raises(ServingError) as raised:
        read(body, dtypes_of(x="int64"))
    assert raised.value.message == f"JSON Parse error: {message}"


def test_examples_are_read_in_pieces() -> None:
    """Classify and regress bodies are cut between their examples."""
    examples = [{"x": [1, 2], "y": "a,]"}, {"z": {"b64": "AA=="}}] * 20
    found = pieces.large_examples(json.dumps({"signature_name": "s", "examples": examples}).encode())

    assert found is not None
    signature, parts = found
    taken = list(parts)
    assert signature == "s"
    assert [example for part in taken for example in part] == examples
    assert max(map(len, taken)) <= 3
    assert pieces.large_examples(b'{"examples": [{"x": 1}], "context": {"y": 1}}') is None


def test_a_list_of_examples_with_much_white_space_is_read_whole() -> None:
    """It is found where the list is cut, after the first examples were read."""
    body = b'{"examples": [{"x": 1},%b{"x": 2}]}' % (b" " * 100_000)
    signature, found = rest_examples._read_examples(body, len(body) * 1000)
    assert signature == ""
    second = protos.Example.FromString(serialized_examples(found)[1])
    assert second.features.feature["x"].int64_list.value == [2]
