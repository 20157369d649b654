"""What people type as inputs of `predict`: converted to arrays, or refused with an explanation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from input_signatures import (
    ANY,
    HOUSE,
    INTEGERS,
    NUMBER,
    NUMBER_COLUMN,
    PAIR_OF_VECTORS,
    SCALAR,
    TEXT,
    TEXT_COLUMN,
    VECTOR,
    signature,
)

from tfsctl.core.types import Signature
from tfsctl.errors import InvalidInput
from tfsctl.inputs.predict_inputs import example_arguments, shape_inputs
from tfsctl.inputs.typed_values import are_features

TEXT_ROWS = signature(text=("string", (None, None)))
ANY_LENGTH = signature(x=("float32", (None, None)))
NO_LENGTH = signature(x=("float32", (None, 0)))
TRUTH = signature(x=("bool", (None,)))
NAMED_INPUTS = signature(inputs=("string", (None,)))


@pytest.mark.parametrize(
    ("wanted", "typed", "expected"),
    [
        (TEXT, ["great"], [b"great"]),
        (TEXT, ["great", ""], [b"great", b""]),
        (TEXT, ['"Great", they said'], [b'"Great", they said']),
        (TEXT, ["5"], [b"5"]),
        (TEXT, ["a=b, :D"], [b"a=b, :D"]),
        (TEXT, ["text=a b"], [b"a b"]),
        (TEXT, ['"great"'], [b'"great"']),
        (TEXT, ['"[1]"', ' "a" '], [b'"[1]"', b' "a" ']),
        (TEXT, ['["\\"[1]\\""]'], [b'"[1]"']),
        (TEXT, ['text="a"'], [b'"a"']),
        (TEXT, ['{"text": "[b]"}'], [b"[b]"]),
        (TEXT, ['["a", "b"]'], [b"a", b"b"]),
        (TEXT, ['{"b64": "/w=="}'], [b"\xff"]),
        (TEXT_COLUMN, ["a", "b"], [[b"a"], [b"b"]]),
        (TEXT_COLUMN, ['["a", "b"]'], [[b"a"], [b"b"]]),
        (TEXT_COLUMN, ['[["a"], ["b"]]'], [[b"a"], [b"b"]]),
        (TEXT_ROWS, ["a"], [[b"a"]]),
        (TEXT_ROWS, ['["a", "b"]'], [[b"a", b"b"]]),
        (NUMBER, ["2"], [2.0]),
        (NUMBER, ["1,2,3"], [1.0, 2.0, 3.0]),
        (NUMBER, ["1 2", "[3]"], [1.0, 2.0, 3.0]),
        (NUMBER, ["-1.5", ".5", "1e3", "inf"], [-1.5, 0.5, 1000.0, np.inf]),
        (INTEGERS, ["9007199254740993.0"], [9007199254740993]),
        (INTEGERS, ["1e3", "-0.0"], [1000, 0]),
        (NUMBER, ["x=3", "x=4"], [3.0, 4.0]),
        (NUMBER, ["4", "x=3", '{"x": 2}', "1"], [4.0, 3.0, 2.0, 1.0]),
        (NUMBER, ["[]"], []),
        (NUMBER, ['{"instances": [1, 2]}'], [1.0, 2.0]),
        (NUMBER, ['{"instances": [{"x": 1}, {"x": 2}]}'], [1.0, 2.0]),
        (NUMBER, ['{"inputs": [1, 2]}'], [1.0, 2.0]),
        (NUMBER, ['{"inputs": {"x": [1, 2]}, "signature_name": "s"}'], [1.0, 2.0]),
        (NUMBER_COLUMN, ["1", "2"], [[1], [2]]),
        (NUMBER_COLUMN, ["1,2"], [[1], [2]]),
        (NUMBER_COLUMN, ["1e2"], [[100]]),
        (VECTOR, ["1,2,3"], [[1.0, 2.0, 3.0]]),
        (VECTOR, ["1", "2", "3"], [[1.0, 2.0, 3.0]]),
        (VECTOR, ["1 2 3", "[4, 5, 6]"], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        (VECTOR, ["[[1, 2, 3], [4, 5, 6]]"], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        (VECTOR, ["[]"], np.empty((0, 3)).tolist()),
        (ANY_LENGTH, ["[]"], [[]]),
        (ANY_LENGTH, ["[]", "x=[]", '{"x": []}'], [[], [], []]),
        (ANY_LENGTH, ["[[], []]"], [[], []]),
        (ANY_LENGTH, ['{"instances": [[], {"x": []}]}'], [[], []]),
        (ANY_LENGTH, ['{"inputs": []}'], []),
        (ANY_LENGTH, ['{"inputs": {"x": []}}'], []),
        (NO_LENGTH, ["[]", "[]"], [[], []]),
        (PAIR_OF_VECTORS, ["1,2,3", "4,5,6"], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        (SCALAR, ["2"], 2.0),
        (ANY, ["2"], [2.0]),
        (ANY, ["1", "2"], [1.0, 2.0]),
        (ANY, ["[[1, 2]]"], [[1.0, 2.0]]),
        (ANY, ['{"instances": [[1, 2]]}'], [[1.0, 2.0]]),
        (TRUTH, ["true", "False", "1", "0"], [True, False, True, False]),
        (TRUTH, ["1, 0 true"], [True, False, True]),
        (NAMED_INPUTS, ['{"inputs": "a"}'], [b"a"]),
    ],
)
def test_one_input_is_shaped_to_its_signature(wanted: Signature, typed: list[str], expected: Any) -> None:
    """Text, numbers, lists and bodies become the batch the signature wants; several texts are several rows."""
    (array,) = shape_inputs(typed, wanted).values()
    assert array.tolist() == expected


@pytest.mark.parametrize(
    ("typed", "area", "city"),
    [
        (["area=120 city=New York"], [120.0], [b"New York"]),
        (["area=120", "city=Bern"], [120.0], [b"Bern"]),
        (["area=120", "city=Bern", "area=1", "city=B"], [120.0, 1.0], [b"Bern", b"B"]),
        (["area=120 city=Bern", "city=B area=1"], [120.0, 1.0], [b"Bern", b"B"]),
        (['area=1,2 city=["a","b"]'], [1.0, 2.0], [b"a", b"b"]),
        (['{"area": 1, "city": "a"}', "area=2 city=b"], [1.0, 2.0], [b"a", b"b"]),
        (["area=2 city=b", '{"area": 1, "city": "a"}'], [2.0, 1.0], [b"b", b"a"]),
        (['[{"area": 1, "city": "a"}, {"area": 2, "city": "b"}]'], [1.0, 2.0], [b"a", b"b"]),
        (['{"area": [1, 2], "city": ["a", "b"]}'], [1.0, 2.0], [b"a", b"b"]),
        (['{"instances": [{"area": 1, "city": "a"}]}'], [1.0], [b"a"]),
        (['{"inputs": {"area": [1], "city": ["a"]}}'], [1.0], [b"a"]),
    ],
)
def test_inputs_by_name(typed: list[str], area: list[float], city: list[bytes]) -> None:
    """Pairs, objects and bodies name each value; a repeated name starts the next row."""
    shaped = shape_inputs(typed, HOUSE)
    assert (shaped["area"].tolist(), shaped["city"].tolist()) == (area, city)


@pytest.mark.parametrize(
    ("wanted", "typed", "message"),
    [
        (NUMBER, ["great"], "'great' is not float32"),
        (NUMBER, ["1_0"], "'1_0' is not float32"),
        (NUMBER, [""], "'' is not float32"),
        (NUMBER, [], "no input was given"),
        (NUMBER, ["true"], "x[0] is a boolean ('True'), but the model wants float32"),
        (NUMBER, ["null"], "x[0] is null, but the model wants float32"),
        (NUMBER, ["[[1]]"], "input 'x' has shape [1, 1], but the model wants float32 [batch]"),
        (NUMBER, ["y=3"], "there is no input 'y'"),
        (NUMBER, ['{"instances": 5}'], '"instances" is 5, which is not a list'),
        (NUMBER, ['{"instances": []}'], '"instances" is an empty list, which a server refuses'),
        (HOUSE, ["area=1 city=a", '{"instances": []}'], '"instances" is an empty list, which a server refuses'),
        (HOUSE, ['{"area": 1,'], "'{\"area\": 1,' looks like JSON, but is not valid JSON"),
        (NUMBER, ["[1,"], "'[1,' looks like JSON, but is not valid JSON"),
        (NUMBER, ['x={"a"}'], "'{\"a\"}' looks like JSON, but is not valid JSON"),
        (NUMBER, ["[" * 100_000], "the JSON is nested too deeply"),
        (NUMBER, ["1" * 400], "x[0] is too large for float32"),
        (NUMBER, ["1", "1e39"], "x[1] is 1e+39, which is too large for float32"),
        (VECTOR, ["[1, -1e39, 2]"], "x[0][1] is -1e+39, which is too large for float32"),
        (NUMBER, ['{"x": 1, "x": 2}'], "the JSON has 'x' twice"),
        (HOUSE, ['{"area": 1, "city": {"b64": "", "b64": ""}}'], "the JSON has 'b64' twice"),
        (NUMBER_COLUMN, ["1.5"], "x[0][0] is 1.5, but the model wants int32: a whole number"),
        (NUMBER_COLUMN, ["4294967296"], "x[0][0] is 4294967296, but int32 goes from -2147483648 to 2147483647"),
        (VECTOR, ["1,2"], "input 'x' has shape [1, 2], but the model wants float32 [batch, 3]"),
        (VECTOR, ["[[1, 2, 3], [4]]"], "row 2: x has shape [1], but the model wants float32 [3]"),
        (VECTOR, ["1,2", "4,5,6"], "row 1: x has shape [2], but the model wants float32 [3]"),
        (VECTOR, ["1,2,3", "[]"], "row 2: x has shape [0], but the model wants float32 [3]"),
        (ANY_LENGTH, ["1,2", "[]"], "x[1] has 0 values where the first such list has 2"),
        (NUMBER, ["1", "[]"], "row 2: x has shape [0], but the model wants float32 []"),
        (NUMBER, ["1", "[[2]]"], "row 2: x has shape [1], but the model wants float32 []"),
        (SCALAR, ["1", "2"], "x takes a single value, but 2 were given"),
        (TEXT, ["[1]"], "text[0] is a number ('1'), but the model wants string"),
        (TEXT, ['{"txt": "a"}'], "there is no input 'txt' (did you mean 'text'?)"),
        (TEXT, ['{"b64": "!"}'], 'text[0]: the value of "b64" is not base64 (standard alphabet)'),
        (HOUSE, ["5"], "'5' does not name one of the 2 inputs"),
        (HOUSE, ["are=120 city=Bern"], "there is no input 'are' (did you mean 'area'?)"),
        (HOUSE, ["area=120 cty=Bern"], "there is no input 'cty' (did you mean 'city'?)"),
        (HOUSE, ["area=120"], "there is no value for city"),
        (HOUSE, ["area=1 city=a", "area=2"], "row 2: there is no value for city"),
        (HOUSE, ['{"area": [1, 2], "city": ["a"]}'], "the inputs have different numbers of rows: area 2, city 1"),
        (HOUSE, ['{"instances": [1], "inputs": [1]}'], 'the body has both "instances" and "inputs"'),
        (NUMBER, ['{"instances": [1], "signature": "s"}'], "the body has a key 'signature'; a body has"),
        (NUMBER, ['{"instance": [1]}'], "there is no input 'instance' (did you mean 'instances', the key of a body?)"),
        (HOUSE, ['{"Input": {"area": 1}}'], "there is no input 'Input' (did you mean 'inputs', the key of a body?)"),
        (NUMBER, ['{"instances": [1], "signature_name": 5}'], '"signature_name" is 5, which is not a name'),
        (HOUSE, ["AREA=1 city=a"], "there is no input 'AREA' (did you mean 'area'?)"),
        (NUMBER, ['{"X": 1}'], "there is no input 'X' (did you mean 'x'?)"),
        (VECTOR, ["1,,2,3"], "'1,,2,3' has an empty value between its commas"),
        (VECTOR, [", 1, 2, 3"], "', 1, 2, 3' has an empty value between its commas"),
    ],
)
def test_a_mismatch_is_explained(wanted: Signature, typed: list[str], message: str) -> None:
    """The error says what was typed, what the signature takes, and gives an example that fits."""
    with pytest.raises(InvalidInput) as caught:
        shape_inputs(typed, wanted)
    takes = ", ".join(f"{spec.name} {spec.dtype} {spec.shape_text}" for spec in wanted.inputs)
    assert caught.value.message.startswith(message.removesuffix(" (did you mean"))
    assert caught.value.message.endswith(f"; serving_default takes {takes}")
    assert caught.value.hint == f"for example: {example_arguments(wanted)}"


def test_arguments_are_features_if_none_is_the_input_itself() -> None:
    """FEATURE=VALUE and JSON objects, for a model with one string per row."""
    for texts in (["a=1"], ["a=1", '{"a": 2}'], ['[{"a": 1}]']):
        assert are_features(texts, (), TEXT)
        assert not are_features(texts, (), NUMBER)
        assert not are_features(texts, (), HOUSE)
    for texts in (["a"], ["a=1", "b"], ['{"instances": [1]}'], ['{"b64": "AA=="}'], ["text=x"], ["[]"], []):
        assert not are_features(texts, (), TEXT)
