"""What `Client.predict` takes: every form of inputs becomes the right arrays, or an error that names the place."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tfsctl.api.inputs import input_arrays, signature_name_of
from tfsctl.core.types import Shape, Signature, TensorSpec
from tfsctl.errors import InvalidInput


def signature(**inputs: tuple[str, Shape | None]) -> Signature:
    """A signature with these inputs: name -> dtype and shape."""
    return Signature("s", tuple(TensorSpec(name, *inputs[name]) for name in sorted(inputs)), ())


X = signature(x=("float32", (None,)))
ROW = signature(x=("float32", (None, 3)))
COLUMN = signature(x=("float32", (None, 1)))
SCALAR = signature(x=("float32", ()))
ANY = signature(x=("float32", None))
TEXT = signature(text=("string", (None,)))
TEXT_COLUMN = signature(text=("string", (None, 1)))
TWO = signature(area=("float32", (None,)), city=("string", (None,)))
WIDE = signature(id=("int64", (None,)), x=("float32", (None, 2)))
NAMED_INPUTS = signature(inputs=("float32", (None,)))
IMAGE = signature(image=("uint8", (None, 2, 2, 3)))
RED = Image.new("RGB", (2, 2), (255, 0, 0))
FRAME = pd.DataFrame({"id": [7, 8], "city": ["Bern", "Ulm"], "area": [1, 2.5]}, index=[10, 20])


def png(image: Image.Image) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("wanted_by", "value", "wanted"),
    [
        (X, 2.0, {"x": [2.0]}),
        (X, np.float32(2), {"x": [2.0]}),
        (X, [1, 2], {"x": [1.0, 2.0]}),
        (X, range(3), {"x": [0.0, 1.0, 2.0]}),
        (X, {"x": 2}, {"x": [2.0]}),
        (X, {"instances": [1, 2]}, {"x": [1.0, 2.0]}),
        (X, {"instances": [{"x": 1}, {"x": 2}]}, {"x": [1.0, 2.0]}),
        (X, {"inputs": [1, 2]}, {"x": [1.0, 2.0]}),
        (X, {"inputs": {"x": [1, 2]}, "signature_name": "s"}, {"x": [1.0, 2.0]}),
        (X, [{"x": 1}, {"x": 2}], {"x": [1.0, 2.0]}),
        (X, pd.Series([1, 2]), {"x": [1.0, 2.0]}),
        (X, pd.Series([1, 2], dtype="Int64"), {"x": [1.0, 2.0]}),
        (X, pd.Index([1, 2]), {"x": [1.0, 2.0]}),
        (X, np.array([1, 2], dtype=object), {"x": [1.0, 2.0]}),
        (ROW, [1, 2, 3], {"x": [[1.0, 2.0, 3.0]]}),
        (ROW, np.array([1, 2, 3]), {"x": [[1.0, 2.0, 3.0]]}),
        (ROW, [[1, 2, 3], [4, 5, 6]], {"x": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]}),
        (ROW, [{"x": [1, 2, 3]}], {"x": [[1.0, 2.0, 3.0]]}),
        (ROW, pd.DataFrame([[1, 2, 3]], columns=["a", "b", "c"]), {"x": [[1.0, 2.0, 3.0]]}),
        (ROW, pd.DataFrame([[1, 2, 3]]), {"x": [[1.0, 2.0, 3.0]]}),
        (ROW, pd.DataFrame({"x_2": [3], "x_0": [1], "x_1": [2], "id": [9]}), {"x": [[1.0, 2.0, 3.0]]}),
        (ROW, pd.Series([np.array([1, 2, 3]), np.array([4, 5, 6])]), {"x": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]}),
        (COLUMN, 1, {"x": [[1.0]]}),
        (COLUMN, [1, 2], {"x": [[1.0], [2.0]]}),
        (COLUMN, [{"x": 1}, {"x": 2}], {"x": [[1.0], [2.0]]}),
        (COLUMN, pd.DataFrame({"x": [1, 2]}), {"x": [[1.0], [2.0]]}),
        (SCALAR, 1, {"x": 1.0}),
        (SCALAR, [{"x": 1}], {"x": 1.0}),
        (ANY, 1, {"x": 1.0}),
        (ANY, [[1], [2]], {"x": [[1.0], [2.0]]}),
        (TEXT, "great", {"text": [b"great"]}),
        (TEXT, b"\xff", {"text": [b"\xff"]}),
        (X, [1, float("inf")], {"x": [1.0, float("inf")]}),
        (WIDE, {"id": pd.Series([2.0]), "x": [1, 2]}, {"id": [2], "x": [[1.0, 2.0]]}),
        (WIDE, {"id": 9007199254740993, "x": [1, 2]}, {"id": [9007199254740993], "x": [[1.0, 2.0]]}),
        (TEXT, bytearray(b"a"), {"text": [b"a"]}),
        (TEXT, memoryview(b"a"), {"text": [b"a"]}),
        (TEXT, {"b64": "/w=="}, {"text": [b"\xff"]}),
        (TEXT, [{"b64": "/w=="}, "a"], {"text": [b"\xff", b"a"]}),
        (TEXT, pd.Series(["a", "b"], dtype="category"), {"text": [b"a", b"b"]}),
        (TEXT, pd.Series(["a", "b"], dtype="string"), {"text": [b"a", b"b"]}),
        (TEXT, FRAME["city"], {"text": [b"Bern", b"Ulm"]}),
        (TEXT_COLUMN, "great", {"text": [[b"great"]]}),
        (TWO, {"area": 1, "city": "Bern"}, {"area": [1.0], "city": [b"Bern"]}),
        (TWO, {"area": [1, 2], "city": ["a", "b"]}, {"area": [1.0, 2.0], "city": [b"a", b"b"]}),
        (TWO, {"area": FRAME["area"], "city": FRAME["city"]}, {"area": [1.0, 2.5], "city": [b"Bern", b"Ulm"]}),
        (TWO, [{"city": "Bern", "area": 1}], {"area": [1.0], "city": [b"Bern"]}),
        (TWO, FRAME, {"area": [1.0, 2.5], "city": [b"Bern", b"Ulm"]}),
        (TWO, FRAME.iloc[1], {"area": [2.5], "city": [b"Ulm"]}),
        (TWO, {"instances": [{"area": 1, "city": "a"}]}, {"area": [1.0], "city": [b"a"]}),
        (WIDE, {"id": 3, "x": [1, 2]}, {"id": [3], "x": [[1.0, 2.0]]}),
        (WIDE, {"id": [3], "x": pd.DataFrame([[1, 2]])}, {"id": [3], "x": [[1.0, 2.0]]}),
        (NAMED_INPUTS, {"inputs": [1, 2]}, {"inputs": [1.0, 2.0]}),
        (NAMED_INPUTS, {"inputs": {"inputs": [1, 2]}}, {"inputs": [1.0, 2.0]}),
        (IMAGE, RED, {"image": [[[[255, 0, 0]] * 2] * 2]}),
        (IMAGE, png(RED), {"image": [[[[255, 0, 0]] * 2] * 2]}),
        (IMAGE, [RED, Image.new("L", (9, 4), 7)], {"image": [[[[255, 0, 0]] * 2] * 2, [[[7, 7, 7]] * 2] * 2]}),
        (IMAGE, np.full((2, 2, 3), 7, np.uint8), {"image": [[[[7, 7, 7]] * 2] * 2]}),
        (TEXT, RED, {"text": [png(RED)]}),
        (TEXT, [RED, RED], {"text": [png(RED)] * 2}),
        (X, pd.DataFrame({"x": []}), {"x": []}),
    ],
)  # fmt: skip
def test_forms_of_inputs(wanted_by: Signature, value: Any, wanted: dict[str, Any]) -> None:
    """Values, columns, records, DataFrames, Series, REST bodies, bytes and images."""
    assert {name: array.tolist() for name, array in input_arrays(value, wanted_by).items()} == wanted


@pytest.mark.parametrize(
    ("wanted_by", "value", "message", "hint"),
    [
        (TWO, {"area": [1, 2], "city": ["a"]}, "the inputs have different numbers of rows: area 2, city 1", ""),
        (TWO, {"area": [1, 2], "city": "a"}, "the inputs have different numbers of rows: area 2, city 1", ""),
        (TWO, {"inputs": {"area": [1, 2], "city": ["a"]}}, "the inputs have different numbers of rows: area 2, city 1", ""),
        (TWO, 1, "name the inputs: s takes area float32 [batch], city string [batch]", 'predict({"area": …, "city": …})'),
        (TWO, [{"area": 1, "city": "a"}, {"area": 1}], "row 2: there is no value for city; s takes", ""),
        (TWO, [{"area": 1, "city": "a"}, {"area": 1, "cty": "b"}], "row 2: there is no input 'cty' (did you mean 'city'?)", ""),
        (TWO, [{"area": 1, "city": "a"}, 5], "row 2 is of type int, not a mapping of input names to values", ""),
        (TWO, FRAME.rename(columns={"area": "size"}), "the DataFrame has no column 'area' (its columns: id, city, size)",
         'df.rename(columns={"COLUMN": "area"})'),
        (TWO, FRAME.rename(columns={"area": "areas"}), "the DataFrame has no column 'area'", 'df.rename(columns={"areas": "area"})'),
        (TWO, FRAME.assign(city=["Bern", None]), "row 2 (index 20) has no value in column 'city'",
         "df.dropna() drops rows without a value, df.fillna(VALUE) fills them"),
        (TWO, FRAME.assign(area=float("nan")), "row 1 (index 10) has no value in column 'area', and 1 more rows have none", None),
        (TWO, pd.concat([FRAME, FRAME[["city"]]], axis=1), "the DataFrame has several columns named 'city'", None),
        (TWO, FRAME.assign(city=None).iloc[0], "the row has no value for 'city'", None),
        (X, pd.Series([1, None]), "row 2 (index 1) has no value in input 'x'", None),
        (X, pd.Series([1, None], dtype="Int64"), "row 2 (index 1) has no value in input 'x'", None),
        (X, {"x": pd.Series([1, None])}, "row 2 (index 1) has no value in input 'x'", None),
        (ROW, {"x": pd.DataFrame([[1, 2, None]])}, "row 1 (index 0) has no value in column '2'", None),
        (ROW, [1, 2, 3, 4], "input 'x' has shape [4], but the model wants float32 [batch, 3]", ""),
        (ROW, [{"x": 1}, {"x": 2}, {"x": 3}], "input 'x' has shape [3], but the model wants float32 [batch, 3]", ""),
        (ROW, {"instances": [1, 2, 3]}, "input 'x' has shape [3], but the model wants float32 [batch, 3]", ""),
        (ROW, {"inputs": [1, 2, 3]}, "input 'x' has shape [3], but the model wants float32 [batch, 3]", ""),
        (X, {"instances": 1}, '"instances" is of type int, not a list of rows', ""),
        (X, [1, None], "x[1] is None, but the model wants float32", ""),
        (X, {1, 2}, "x is of type set, not a number, text, list or array", ""),
        (X, (n for n in [1]), "x is of type generator, not a number, text, list or array", ""),
        (X, np.ma.masked_array([1.0, 2.0], [False, True]), "x has masked values", "array.filled(VALUE) fills them"),
        (X, pd.Series(pd.to_datetime(["2026-01-01"])), "is datetime64", None),
        (TEXT, pd.Series(["a", 1], dtype=object), "text[1] is a number ('1'), but the model wants string", ""),
        (TEXT, ["a", 1], "text[1] is a number ('1'), but the model wants string", ""),
        (X, [True, 1.5], "x[0] is a boolean ('True'), but the model wants float32", ""),
        (X, [np.bool_(True), 1.5], "x[0] is", ""),
        (X, [1, "2"], "x[1] is text ('2'), but the model wants float32", ""),
        (X, None, "x is None, but the model wants float32", ""),
        (X, 1e39, "x is 1e+39, which is too large for float32", ""),
        (X, [1, 1e39], "x[1] is 1e+39, which is too large for float32", ""),
        (X, np.array([1e39]), "x[0] is 1e+39, which float32 cannot hold", ""),
        (WIDE, {"id": 9007199254740993.0, "x": [1, 2]}, "id holds floats of 2**53 or more, which may have lost digits", None),
        (WIDE, {"id": pd.Series([9007199254740993.0]), "x": [1, 2]}, "id holds floats of 2**53 or more", None),
        (WIDE, {"id": np.array([1.0, 1.5]), "x": [1, 2]}, "id[1] is 1.5, which int64 cannot hold", ""),
        (IMAGE, [RED, "a"], "row 2 of image is of type str, not an image", ""),
        (IMAGE, b"no image", "not an image that Pillow can decode", ""),
        (X, RED, "input 'x' is float32 [batch]: an image does not fit this shape", ""),
    ],
)  # fmt: skip
def test_unfit_inputs_are_refused(wanted_by: Signature, value: Any, message: str, hint: str | None) -> None:
    """Never broadcast, never guessed: the message names the row, the column or the input."""
    with pytest.raises(InvalidInput) as caught:
        input_arrays(value, wanted_by)

    assert message in caught.value.message
    assert hint in (None, caught.value.hint)


def test_only_the_body_of_a_rest_request_names_a_signature() -> None:
    """Only the body of a REST request names a signature."""
    assert signature_name_of({"instances": [1], "signature_name": "row"}) == "row"
    assert signature_name_of({"instances": [1]}) is None
    assert signature_name_of({"signature_name": "row", "x": 1}) is None
    assert signature_name_of([1]) is None
