"""Typed features become examples for classify and regress, or an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsctl.core.inference import Examples
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.inputs.features import as_float, read_example_lines, read_examples


@pytest.mark.parametrize(
    ("typed", "rows"),
    [
        (["x=1"], [{"x": [1]}]),
        (["x=1.0"], [{"x": [1.0]}]),
        (["x=-2.5 city=New York"], [{"x": [-2.5], "city": [b"New York"]}]),
        (["x=1", "x=2"], [{"x": [1]}, {"x": [2]}]),
        (["x=1", "y=2", "x=3", "y=4"], [{"x": [1], "y": [2]}, {"x": [3], "y": [4]}]),
        (["x=1,2.5"], [{"x": [1.0, 2.5]}]),
        (["x=1, two"], [{"x": [b"1, two"]}]),
        (['x="5"'], [{"x": [b"5"]}]),
        (["x=[1, 2]"], [{"x": [1, 2]}]),
        (['x=["a", {"b64": "/w=="}]'], [{"x": [b"a", b"\xff"]}]),
        (["x=true"], [{"x": [1]}]),
        (["x="], [{"x": [b""]}]),
        (['x="[not JSON"'], [{"x": [b"[not JSON"]}]),
        (['x="open'], [{"x": [b'"open']}]),
        (['{"x": 1, "y": ["a", "b"]}'], [{"x": [1], "y": [b"a", b"b"]}]),
        (['[{"x": 1}, {"x": 2}]', "x=3"], [{"x": [1]}, {"x": [2]}, {"x": [3]}]),
        (['{"examples": [{"x": 1.5}]}'], [{"x": [1.5]}]),
        (['{"examples": [{}]}'], [{}]),
        (['{"x": []}'], [{"x": []}]),
    ],
)
def test_rows_of_features(typed: list[str], rows: list[dict[str, Any]]) -> None:
    """Pairs and objects are rows; a value is of the kind it looks like, and all values of a feature are of one."""
    found = read_examples(typed)
    assert [dict(row) for row in found.rows] == rows
    kinds = [[type(value) for values in row.values() for value in values] for row in found.rows]
    assert kinds == [[type(value) for values in row.values() for value in values] for row in rows]


def test_each_line_is_one_example() -> None:
    """Lines are pairs or objects, and never a part of an example."""
    found = read_example_lines(["x=1 y=a", '{"x": 2}', "y=b"])
    assert [dict(row) for row in found.rows] == [{"x": [1], "y": [b"a"]}, {"x": [2]}, {"y": [b"b"]}]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["x=1", ""], "line 2: '' has no feature name"),
        (["x=1", "great"], "line 2: 'great' has no feature name"),
        (["x=1 x=2"], "line 1 is not one example"),
        (["x=1", '[{"x": 1}, {"x": 2}]'], "line 2 is not one example"),
        (['{"examples": [{"x": 1}], "context": {"y": 1}}'], "line 1 is not one example"),
        (["[", "1]"], "line 1: '[' looks like JSON, but is not valid JSON"),
        ([], "no example was given"),
    ],
)
def test_lines_that_are_not_one_example(lines: list[str], message: str) -> None:
    """Answers line up with lines, so any other line is an error with its number."""
    with pytest.raises(InvalidInput) as caught:
        read_example_lines(lines)
    assert caught.value.message == message


def test_a_body_may_have_a_context() -> None:
    """The features that all examples share come from the body of the REST API."""
    found = read_examples(['{"examples": [{"x": 1}], "context": {"y": "a"}, "signature_name": "s"}'])
    assert found == Examples(({"x": [1]},), {"y": [b"a"]})


def test_named_values_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """-i takes one value, whatever it looks like; the suffix of a file tells its format (default: bytes)."""
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(b"\xff\xd8")
    Path("words.txt").write_text("5\n")
    Path("list.json").write_text("[1.5, 2]")
    np.save("numbers.npy", np.array([[1, 2], [3, 4]]))
    named = ["photo=@photo.jpg", "words=@words.txt", "list=@list.json", "numbers=@numbers.npy", "text=a b=c"]
    (row,) = read_examples(["x=1"], named).rows
    assert row == {
        "x": [1],
        "photo": [b"\xff\xd8"],
        "words": [b"5"],
        "list": [1.5, 2.0],
        "numbers": [1, 2, 3, 4],
        "text": [b"a b=c"],
    }
    with pytest.raises(NotFound, match=r"no file nope\.jpg"):
        read_examples([], ["photo=@nope.jpg"])


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["great"], "'great' has no feature name"),
        (['{"x": 1'], "'{\"x\": 1' looks like JSON, but is not valid JSON"),
        ([], "no example was given"),
        (["[]"], "no example was given"),
        (["[1]"], "an example is an object of features, not 1"),
        (['{"examples": 1}'], "an example is an object of features, not 1"),
        (['{"x": [1, "a"]}'], "feature 'x' mixes text and numbers"),
        (['{"x": null}'], "feature 'x' has null, which is neither text nor a number"),
        (['{"x": {"y": 1}}'], "feature 'x' has {\"y\": 1}, which is neither text nor a number"),
        (['{"x": {"b64": "!"}}'], "feature 'x': the value of \"b64\" is not base64 (standard alphabet)"),
        (["x=9223372036854775808"], "feature 'x' is 9223372036854775808, which int64 cannot hold"),
        (["x=[not JSON"], "the value '[not JSON' looks like JSON, but is not valid JSON"),
        (["[" * 100_000], "the JSON is nested too deeply"),
    ],
)
def test_the_error_of_an_invalid_example_says_what_was_typed(typed: list[str], message: str) -> None:
    """The error says what was typed."""
    with pytest.raises(InvalidInput) as caught:
        read_examples(typed)
    assert caught.value.message == message


def test_whole_numbers_become_floats_where_a_feature_is_of_floats() -> None:
    """Only of that feature, in every row and the context; nothing else changes."""
    examples = Examples(({"x": [1], "n": [1]}, {"x": [b"a"]}, {"x": []}), {"x": [2]})
    changed = as_float(examples, "x")
    assert changed == examples
    assert [type(value) for row in (*changed.rows, changed.context) for values in row.values() for value in values] == [
        float,
        int,
        bytes,
        float,
    ]


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """No text ends in anything but examples or InvalidInput."""
    try:
        assert read_examples([text]).rows
    except InvalidInput as error:
        assert error.message  # noqa: PT017 - either way is right
