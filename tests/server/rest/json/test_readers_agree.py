"""Every reader of predict bodies reads a body as RapidJSON's rules and a walk value by value say, or leaves it to others.

The bodies are text of odd but mostly valid notations, which json.dumps never writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfsctl.core import dtypes
from tfsctl.core.dtypes import DType
from tfsctl.server.rest.json import numbers, pieces, spans, tensor
from tfsctl.server.rest.json.bulk_values import narrow
from tfsctl.server.rest.json.document import parse, parse_plain, plain_rows
from tfsctl.server.rest.json.rapidjson_reader import RapidJsonReader
from tfsctl.server.status import ServingError

DTYPES = (*("float32", "float64") * 3, "int8", "int32", "int64", "uint64", "bool", "string")
NUMBERS = (
    *("0", "-0", "-0.0", "1", "-1", "1.5", "1E5", "1e+5", "-1e-5", "0.1e1", "3.4028236e38", "1e39", "1e-45", "5e-324"),
    *("127", "128", "-129", "2147483648", "9007199254740993", "9223372036854775807", "9223372036854775808"),
    *("18446744073709551615", "18446744073709551616", "0.30000001192092896", "123456789012345678901234567890"),
)
STRINGS = ('""', '"a"', '"a,]"', '"[["', '"\\u00e9"', '"é"', '"\\ud83d\\ude00"', '{"b64":"aGk="}', '"\\"\\\\"')
ODD = ("NaN", "-Infinity", "1e400", "01", "1.", "null", "{}", '"\\ud800"', '{"b64":"a"}', '{"b64":1,"b64":"aGk="}', "")
Inputs = tuple[str, dict[str, np.ndarray], bool]


@st.composite
def arrays(draw: st.DrawFn) -> str:
    """A list of lists: mostly regular ones with values of one kind, and with any white space."""
    leaves = draw(
        st.sampled_from([NUMBERS, NUMBERS, NUMBERS[:5], STRINGS, ("true", "false"), (*NUMBERS, *STRINGS, *ODD)])
    )
    spaces = draw(st.sampled_from([("",), ("", " "), ("", " ", "\n\t")]))
    any_space = st.sampled_from(spaces)
    shape = draw(st.lists(st.sampled_from([1, 1, 1, 2, 3]), min_size=1, max_size=4))
    is_ragged = draw(st.integers(0, 9)) == 0

    def space() -> str:
        return draw(any_space) if len(spaces) > 1 else ""  # a draw takes its time also if there is no choice

    def value(level: int) -> str:
        if level == len(shape):
            return draw(st.sampled_from(leaves))
        count = shape[level] + (draw(st.integers(-1, 1)) if is_ragged else 0)
        parts = [f"{space()}{value(level + 1)}{space()}" for _ in range(count)]
        return f"{space()}[{','.join(parts)}]"

    return value(0)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A body with one array, perhaps with other members around it."""
    array = draw(arrays())
    form = draw(st.sampled_from(['"instances"', '"inputs"', '"inst\\u0061nces"']))
    value = draw(st.sampled_from(["{0}", "{0}", "{0}", '{{"x":{0}}}', '[{{"x":{0}}},{{"x":{0}}}]'])).format(array)
    members = [f"{form}:{value}"]
    members += draw(st.lists(st.sampled_from([f"{form}:{value}", '"signature_name":"s"', '"y":[1]']), max_size=1))
    text = f"{{{','.join(draw(st.permutations(members)))}}}"
    return draw(st.sampled_from([text, text, text, f"\n{text} ", f"{text}x", f"\ufeff{text}", text[:-2]])).encode()


def walked(body: bytes, wanted: Mapping[str, DType]) -> Inputs:
    """The exact reader, value by value. Raises ServingError."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor, "bulk_array", lambda *_, **__: None)
        document: Any = RapidJsonReader(body, 3 if body.startswith(b"\xef\xbb\xbf") else 0).read()
        return tensor.signature_name(document), *tensor.inputs_from_document(document, wanted, body)


def in_general(body: bytes, wanted: Mapping[str, DType]) -> Inputs:
    """The reader of all bodies. Raises ServingError."""
    document: Any = parse(body)
    return tensor.signature_name(document), *tensor.inputs_from_document(document, wanted, body)


def plain(body: bytes, wanted: Mapping[str, DType]) -> Inputs | None:
    """The reader of ordinary bodies."""
    document = parse_plain(body)
    signature = None if document is None else tensor.plain_signature(document)
    read = None if document is None else tensor.plain_inputs(document, wanted, body)
    return None if signature is None or read is None else (signature, *read)


def rows(body: bytes, wanted: Mapping[str, DType]) -> Inputs | None:
    """The reader of rows that are stacked with those of other bodies."""
    found = plain_rows(body)
    if found is None:
        return None
    signature, values = found
    read = tensor.rows_at_once(values, wanted, has_literals=tensor.may_have_literals(body))
    return None if read is None else ("" if signature == "serving_default" else signature, read, True)


def number_row(body: bytes, wanted: Mapping[str, DType]) -> Inputs | None:
    """The reader of one row of numbers."""
    row = numbers.number_row(body) if wanted["x"].is_floating else None
    return None if row is None else ("", {"x": narrow(np.frombuffer(row)[None], wanted["x"])}, True)


def large_numbers(body: bytes, wanted: Mapping[str, DType]) -> Inputs | None:
    """The reader of large bodies of numbers."""
    return numbers.number_inputs(body, lambda _: wanted)


def in_pieces(body: bytes, wanted: Mapping[str, DType]) -> Inputs | None:
    """The reader of large bodies, here in pieces of a few bytes. It raises its own errors for text that is no JSON."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (pieces, spans):
            patch.setattr(module, "BLOCK_BYTES", 24)
        try:
            return pieces.large_inputs(body, lambda _: wanted)
        except ServingError:
            return None


def outcome(read: Callable[[bytes, Mapping[str, DType]], Inputs | None], body: bytes, dtype: str) -> object:
    """What a reader finds, to the last bit, or its error; None if it leaves the body to others."""
    try:
        found = read(body, {"x": dtypes.BY_NAME[dtype]})
    except ServingError as error:
        return error.message
    if found is None:
        return None
    signature, arrays, row_form = found
    array = arrays["x"]
    return signature, row_form, array.dtype, array.shape, array.tolist() if dtype == "string" else array.tobytes()


@settings(max_examples=400)
@given(bodies(), st.sampled_from(DTYPES))
def test_readers_agree_on_inputs_and_errors(body: bytes, dtype: str) -> None:
    """On the signature, the form, and the array; the general reader also on the error."""
    expected = outcome(walked, body, dtype)
    assert outcome(in_general, body, dtype) == expected
    for read in (plain, rows, number_row, large_numbers, in_pieces):
        assert outcome(read, body, dtype) in (None, expected), read.__name__
