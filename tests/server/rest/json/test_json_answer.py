"""REST answers are laid out as TensorFlow Serving prints them, and their numbers read back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfsctl.core.arrays import object_array
from tfsctl.server.rest.json import answer as json_answer
from tfsctl.server.rest.json import nested_lists
from tfsctl.server.rest.json import text as json_text
from tfsctl.server.status import ServingError


@given(hnp.arrays(st.sampled_from([np.float32, np.float64]), st.integers(1, 100)))
def test_floats_read_back_as_the_same_value(array: np.ndarray) -> None:
    """Many values at once are written like each of them alone."""
    texts = json_text.float_texts(array)

    assert np.array([float(t.replace("Infinity", "inf")) for t in texts]).astype(array.dtype).tobytes() == (
        array.tobytes()
        if not np.isnan(array).any()
        else np.where(np.isnan(array), np.nan, array).astype(array.dtype).tobytes()
    )
    assert texts == [json_text.float_texts(array[at : at + 1])[0] for at in range(array.size)]


@pytest.mark.parametrize("exponent", range(-8, 10))
def test_many_float32_values_are_written_like_single_ones(exponent: int) -> None:
    """Of any digits, around powers of ten, whole, negative and unusual ones."""
    rng = np.random.default_rng(exponent + 8)
    random = rng.normal(size=2000) * 10.0**exponent
    few_digits = [float(f"{value:.{digits}g}") for value in random[:200] for digits in range(1, 9)]
    power = np.float32(10.0**exponent)
    around = [power, np.nextafter(power, np.float32(0)), np.nextafter(power, np.float32(np.inf)), power * 0.9999999]
    odd = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -3.0, 123456.0, 999999.5]
    array = np.array([*random, *few_digits, *around, *odd], np.float32)

    assert json_text.float_texts(array) == [json_text.float_text(value) for value in array.tolist()]


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1.0"), (0.1, "0.1"), (-0.0, "-0.0"), (1e-7, "1e-07"), (2.0**32, "4.2949673e+09"), (16777217, "16777216.0")],
)
def test_float32_texts_have_six_or_nine_digits(value: float, text: str) -> None:
    """Six if they read back as the same value; whole numbers keep a fraction."""
    assert json_text.float_text(float(np.float32(value))) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.5"), (3.14159265, "3.1415926500000002"), (1e300, "1e+300"), (1e22, "1e+22")]
)
def test_float64_texts_have_six_or_seventeen_digits(value: float, text: str) -> None:
    """Six if they read back as the same value."""
    assert json_text.float_texts(np.array([value])) == [text]


def test_control_characters_are_escaped_with_capitals() -> None:
    """As RapidJSON writes them; a backslash before `u` is not an escape."""
    assert json_text.quote('\x1f\x0b\n"/\x7fé\\u001f') == '"\\u001F\\u000B\\n\\"/\x7fé\\\\u001f"'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e39, "1e39"),
        (100.0, "100.0"),
        (-0.0, "-0.0"),
        (1e21, "1e21"),
        (1e20, "100000000000000000000.0"),
        (2.5e-10, "2.5e-10"),
    ],
)
def test_numbers_in_errors_are_written_as_by_rapidjson(value: float, text: str) -> None:
    """Not as by printf."""
    assert json_text.double_text(value) == text


def test_rows_of_one_output_are_on_one_line() -> None:
    """The closing bracket has its own line."""
    body = json_answer.answer({"y": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)}, row_form=True)

    assert body == b'{\n    "predictions": [[1.0, 2.0], [3.0, 4.0]\n    ]\n}'


def test_rows_of_two_outputs_are_objects() -> None:
    """Over several lines."""
    body = json_answer.answer({"a": np.array([1], np.int32), "b": np.array([[True]])}, row_form=True)

    assert body == (
        b'{\n    "predictions": [\n        {\n            "a": 1,\n            "b": [true]\n        }\n    ]\n}'
    )


def test_values_in_columnar_form_have_their_own_lines() -> None:
    body = json_answer.answer({"y": np.array([[1.0], [2.0]], np.float32)}, row_form=False)

    lines = [b"{", b'    "outputs": [', b"        [", b"            1.0", b"        ],"]
    lines += [b"        [", b"            2.0", b"        ]", b"    ]", b"}"]
    assert body == b"\n".join(lines)


@pytest.mark.parametrize("row_form", [True, False])
@pytest.mark.parametrize("shape", [(30_000,), (3, 10_000), (10_000, 3)])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "object"])
def test_large_arrays_are_written_in_blocks(
    monkeypatch: pytest.MonkeyPatch, dtype: str, shape: tuple[int, ...], *, row_form: bool
) -> None:
    """So that no single call holds the interpreter for long; the text is the same."""
    largest = 0

    def watched(name: str, flat: np.ndarray, indent: str) -> list[str]:
        nonlocal largest
        largest = max(largest, flat.size)
        return texts(name, flat, indent)

    texts = nested_lists.value_texts
    monkeypatch.setattr(nested_lists, "value_texts", watched)
    numbers = np.arange(30_000).reshape(shape)
    array = numbers.astype(str).astype(bytes).astype(object) if dtype == "object" else (numbers % 7).astype(dtype)
    body = json_answer.answer({"y": array}, row_form=row_form)

    assert largest < 10_000
    for module in (json_answer, nested_lists):
        monkeypatch.setattr(module, "PIECE_VALUES", 10**9)
    assert json_answer.answer({"y": array}, row_form=row_form) == body


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 2), (2, 0, 3), (1, 2, 0)])
@pytest.mark.parametrize("row_form", [True, False])
def test_empty_arrays_keep_their_outer_shape(shape: tuple[int, ...], row_form: bool) -> None:
    """There is a list for each row."""
    document = json.loads(json_answer.answer({"y": np.zeros(shape, np.float32)}, row_form=row_form))

    assert document["predictions" if row_form else "outputs"] == np.zeros(shape).tolist()


def test_only_outputs_named_bytes_are_base64() -> None:
    """Other strings are written as they are, UTF-8 or not."""
    strings = object_array([b'\xff"\x00'])

    assert b'["\xff\\"\\u0000"\n' in json_answer.answer({"s": strings}, row_form=True)
    rows = json_answer.answer({"s_bytes": strings}, row_form=True)
    assert rows == b'{\n    "predictions": [{\n            "b64": "/yIA"\n        }\n    ]\n}'


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"n": np.float32(1.0).reshape(())}, "Tensor name: n has no shape information "),
        ({"a": np.zeros(2), "b": np.zeros(3)}, "Tensor name: b has inconsistent batch size: 3 expecting: 2"),
        ({"h": np.zeros(1, np.float16)}, "Failed to write JSON value for tensor type: half"),
    ],
)
def test_outputs_without_a_row_form_are_refused(outputs: dict[str, np.ndarray], message: str) -> None:
    """Scalars, unequal batches and half floats, in the real server's words."""
    with pytest.raises(ServingError) as refused:
        json_answer.answer(outputs, row_form=True)

    assert refused.value.message == message


ANY_SIZE: dict[str, dict[str, np.ndarray]] = {
    "floats": {"y": np.arange(60, dtype=np.float32).reshape(3, 4, 5) / 7},
    "a long row": {"y": np.arange(60).reshape(1, 60)},
    "one value": {"y": np.array([1.5], np.float32)},
    "strings": {"y": object_array([b'a"b\n', b"\xff", b"", b"long" * 9] * 3).reshape(4, 3)},
    "bytes": {"y_bytes": object_array([b"a", b"bc", b""] * 4).reshape(4, 3, 1)},
    "two": {"a": np.arange(6), "b": np.arange(72).reshape(6, 12) > 5},
    "two with large rows": {"a": np.arange(40.0).reshape(2, 20), "c_bytes": object_array([b"x", b"y"])},
    "lists without values": {"y": np.zeros((5, 3, 0), np.int32)},
    "no rows": {"y": np.zeros((0, 3), np.float32), "z": np.zeros(0)},
    "no rows of one": {"y": np.zeros((0, 3), np.float32)},
}


@pytest.mark.parametrize("values", [1, 4, 7])
@pytest.mark.parametrize("row_form", [False, True])
@pytest.mark.parametrize("outputs", ANY_SIZE.values(), ids=ANY_SIZE.keys())
def test_an_answer_in_pieces_is_the_same(
    outputs: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch, *, row_form: bool, values: int
) -> None:
    """However few values are written at once."""
    whole = json_answer.answer(outputs, row_form=row_form)
    most: list[int] = []
    texts = nested_lists.value_texts
    for module in (json_answer, nested_lists):
        monkeypatch.setattr(module, "PIECE_VALUES", values)

    def counted(name: str, flat: np.ndarray, indent: str) -> list[str]:
        most.append(flat.size)
        return texts(name, flat, indent)

    for module in (json_answer, nested_lists):
        monkeypatch.setattr(module, "value_texts", counted)

    assert json_answer.answer(outputs, row_form=row_form) == whole
    assert max(most, default=0) <= values


def test_a_scalar_in_pieces() -> None:
    """A scalar has no list around it."""
    assert json_answer.answer({"y": np.array(b"x" * 100_000, object)}, row_form=False).startswith(
        b'{\n    "outputs": "xxx'
    )
